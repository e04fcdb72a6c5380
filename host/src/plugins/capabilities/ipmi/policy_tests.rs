use super::*;

fn request(netfn: u8, cmd: u8, data: &[u8]) -> Request {
    Request { bridge: None, netfn, lun: 0, cmd, data: data.to_vec() }
}

#[test]
fn whatever_is_not_on_the_list_is_refused() {
    let dcmi = |netfn: u8| if netfn == DCMI { &[DCMI_GROUP][..] } else { &[] };
    let mut passed = 0;
    for netfn in 0..=0x3f {
        for cmd in 0..=0xff {
            let listed = READS.iter().any(|(n, c, _)| (*n, *c) == (netfn, cmd));
            assert_eq!(check(&request(netfn, cmd, dcmi(netfn))).is_ok(), listed, "{netfn:#x} {cmd:#x}");
            passed += usize::from(listed);
        }
    }
    assert_eq!(passed, READS.len(), "each stands once");
    assert!(READS.iter().all(|(.., name)| name.starts_with("Get ") || name.starts_with("Read ") || name.starts_with("Reserve ")));
}

#[test]
fn what_changes_a_server_is_refused_by_name() {
    let refused = [
        (0x00, 0x02, "Chassis Control"),
        (0x00, 0x03, "Chassis Reset"),
        (0x00, 0x04, "Chassis Identify"),
        (0x00, 0x06, "Set Power Restore Policy"),
        (0x00, 0x08, "Set System Boot Options"),
        (0x04, 0x24, "Set Sensor Hysteresis"),
        (0x04, 0x26, "Set Sensor Thresholds"),
        (0x04, 0x28, "Set Sensor Event Enable"),
        (0x04, 0x2a, "Re-arm Sensor Events"),
        (0x04, 0x30, "Set Sensor Reading and Event Status"),
        (0x06, 0x02, "Cold Reset"),
        (0x06, 0x03, "Warm Reset"),
        (0x06, 0x22, "Reset Watchdog Timer"),
        (0x06, 0x24, "Set Watchdog Timer"),
        (0x06, 0x34, "Send Message: another command in disguise"),
        (0x06, 0x38, "Get Channel Authentication Capabilities: the session's own"),
        (0x06, 0x3b, "Set Session Privilege Level"),
        (0x06, 0x3c, "Close Session"),
        (0x06, 0x40, "Set Channel Access"),
        (0x06, 0x43, "Set User Access"),
        (0x06, 0x45, "Set User Name"),
        (0x06, 0x47, "Set User Password"),
        (0x06, 0x52, "Master Write-Read"),
        (0x06, 0x58, "Set System Info Parameters"),
        (0x0a, 0x12, "Write FRU Data"),
        (0x0a, 0x24, "Add SDR"),
        (0x0a, 0x26, "Delete SDR"),
        (0x0a, 0x27, "Clear SDR Repository"),
        (0x0a, 0x29, "Set SDR Repository Time"),
        (0x0a, 0x44, "Add SEL Entry"),
        (0x0a, 0x46, "Delete SEL Entry"),
        (0x0a, 0x47, "Clear SEL"),
        (0x0a, 0x49, "Set SEL Time"),
        (0x0c, 0x01, "Set LAN Configuration Parameters"),
        (DCMI, 0x04, "Set Power Limit"),
        (DCMI, 0x05, "Activate Power Limit"),
        (DCMI, 0x08, "Set Asset Tag"),
        (0x2e, 0xc1, "raw OEM"),
        (0x30, 0x70, "raw OEM"),
    ];
    for (netfn, cmd, name) in refused {
        for bridge in [None, Some(Bridge { channel: 0, address: 0x2c })] {
            let request = Request { bridge, ..request(netfn, cmd, &[DCMI_GROUP]) };
            assert_eq!(check(&request), Err(Denied::Command(netfn, cmd)), "{name}");
        }
    }
}

#[test]
fn a_request_has_no_room_for_another() {
    assert_eq!(check(&request(DCMI, 0x02, &[1, 0, 0])), Err(Denied::Group), "another group's command 2 may set something");
    assert_eq!(check(&request(DCMI, 0x02, &[])), Err(Denied::Group));
    assert_eq!(check(&request(0x04, 0x2d, &[0; 33])), Err(Denied::Long(33)));
    assert_eq!(check(&Request { lun: 4, ..request(0x04, 0x2d, &[1]) }), Err(Denied::Unit(4)), "it would reach the network function");
    for (channel, address) in [(12, 0x2c), (0x40, 0x2c), (0, 0x2d)] {
        let bridge = Some(Bridge { channel, address });
        assert_eq!(check(&Request { bridge, ..request(0x04, 0x2d, &[1]) }), Err(Denied::Bridge(channel, address)));
    }
    assert_eq!(check(&Request { bridge: Some(Bridge { channel: 6, address: 0x2c }), ..request(0x04, 0x2d, &[1]) }), Ok(()));
}

#[test]
fn an_address_has_one_form() {
    let place = |host: &str, port| Ok(Place { host: host.into(), port });
    assert_eq!(Place::of("ipmi://10.0.1.11"), place("10.0.1.11", 623));
    assert_eq!(Place::of("ipmi://BMC1.example:6230"), place("bmc1.example", 6230));
    assert_eq!(Place::of("ipmi://[fd00::1]:624/"), place("fd00::1", 624));
    assert_eq!(Place::of("ipmi://127.0.0.1:6230"), place("127.0.0.1", 6230), "where the operator wrote it");
    for bad in [
        "",
        "10.0.1.11",
        "https://bmc1",
        "ipmi://",
        "ipmi://a b",
        "ipmi://u:p@bmc1",
        "ipmi://bmc1/x",
        "ipmi://bmc1?x",
        "ipmi://bmc1:0",
        "ipmi://bmc1:70000",
        "ipmi://[fd00::1",
        "ipmi://[fd00::1]x",
        "ipmi://0x7f.1",
        "ipmi://2130706433",
        "ipmi://127.1",
        "ipmi://fd00::1",
    ] {
        assert!(matches!(Place::of(bad), Err(Denied::Address(_))), "{bad}");
    }
    for never in ["ipmi://169.254.169.254", "ipmi://[fe80::1]", "ipmi://224.0.0.1", "ipmi://0.0.0.0", "ipmi://[::ffff:169.254.169.254]"] {
        assert!(matches!(Place::of(never), Err(Denied::Never(..))), "{never}");
    }
}

#[test]
fn a_credential_is_used_where_it_is_bound_to() {
    let place = Place::of("ipmi://10.0.1.11").unwrap();
    for bound in ["ipmi://10.0.1.11", "ipmi://10.0.1.11:623", "ipmi://10.0.0.0/16", "ipmi://10.0.0.0/16:623", "ipmi://10.0.1.11/32"] {
        assert!(binds(bound, &place), "{bound}");
    }
    for other in [
        "ipmi://10.0.1.12",
        "ipmi://10.0.1.11:624",
        "ipmi://10.1.0.0/16",
        "ipmi://10.0.0.0/16:624",
        "ipmi://10.0.0.0/99",
        "https://10.0.1.11",
        "",
    ] {
        assert!(!binds(other, &place), "{other}");
    }
    assert!(!binds("ipmi://10.0.0.0/8", &Place::of("ipmi://bmc1").unwrap()), "a name may lead elsewhere tomorrow");
}

#[test]
fn only_a_target_of_the_plugin_is_reached() {
    let bmc =
        Bmc { place: Place::of("ipmi://bmc1").unwrap(), credential: "bmc".into(), privilege: Privilege::User, suites: Suite::ALL.to_vec() };
    let policy = Policy::new([("worker1".to_owned(), bmc.clone())]);
    assert_eq!(policy.target("worker1"), Ok(&bmc));
    assert_eq!(policy.target("ipmi://bmc1"), Err(Denied::Target("ipmi://bmc1".into())));
}
