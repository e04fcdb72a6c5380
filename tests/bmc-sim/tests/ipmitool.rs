//! Judged by a client that others wrote: ipmitool, with both cipher suites.

use std::time::Duration;

use kcloud_bmc_sim::{Bmc, Running, Setup, sdr};
use tokio::process::Command;

/// What ipmitool says; `None` where it is not installed, which is said.
async fn ipmitool(bmc: &Running, suite: u8, password: &str, what: &[&str]) -> Option<(bool, String)> {
    let port = bmc.address.port().to_string();
    let mut command = Command::new("ipmitool");
    command.args([
        "-I",
        "lanplus",
        "-C",
        &suite.to_string(),
        "-H",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "monitor",
        "-P",
        password,
        "-L",
        "USER",
    ]);
    command.args(["-N", "2", "-R", "1"]).args(what);
    let Ok(output) = tokio::time::timeout(Duration::from_secs(30), command.output()).await.expect("ipmitool ends") else {
        eprintln!("NOT TESTED: ipmitool is not installed (Debian: ipmitool)");
        return None;
    };
    Some((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn ipmitool_reads_it_with_either_suite() {
    let bmc = Running::start(Bmc::new(Setup::default())).await.unwrap();
    bmc.bmc.change(|m| m.happened(sdr::sel_entry(0x6500_0000, 1, 2, 1, [0x59, 85, 83])));
    for suite in [3, 17] {
        let expected: [(&[&str], &[&str]); 6] = [
            (
                &["sdr", "elist"],
                &["GPU0 Temp        | 02h | ok  | 11.1 | 61 degrees C", "8400 RPM", "12.06 Volts", "240 Watts", "Presence detected"],
            ),
            (&["dcmi", "power", "reading"], &["412 Watts"]),
            (&["sel", "elist"], &["GPU0 Temp"]),
            (&["fru", "print", "0"], &["Example Systems", "GX-8", "SN1"]),
            (&["chassis", "status"], &["System Power         : on"]),
            (&["mc", "info"], &["1.42"]),
        ];
        for (what, lines) in expected {
            let Some((_, said)) = ipmitool(&bmc, suite, "secret1", what).await else { return };
            assert!(lines.iter().all(|l| said.contains(l)), "suite {suite} {what:?}: {said}");
        }
    }
    let stats = bmc.bmc.stats();
    assert!(stats.suites.contains(&3) && stats.suites.contains(&17), "{stats:?}");
    assert_eq!(stats.sessions_opened, stats.sessions_closed);
}

#[tokio::test]
async fn ipmitool_does_not_get_in_with_another_password() {
    let bmc = Running::start(Bmc::new(Setup::default())).await.unwrap();
    for suite in [3, 17] {
        let Some((went_well, said)) = ipmitool(&bmc, suite, "wrong", &["mc", "info"]).await else { return };
        assert!(!went_well, "{said}");
    }
    assert_eq!(bmc.bmc.stats().sessions_opened, 0);
}
