//! What an address is to a guest, in every spelling of it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a guest may reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public or private: BMCs live in private ranges.
    Open,
    /// This machine: only where the operator wrote it as such.
    Loopback,
    /// Nobody's target, whoever wrote it; says what it is.
    Never(&'static str),
}

/// What an address is.
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(a) => v4(a),
        IpAddr::V6(a) => v6(a),
    }
}

/// Whether a name may lead to this address.
pub fn name_leads_to(name: &str, address: IpAddr) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match reach(address) {
        Reach::Open => true,
        Reach::Loopback => name == "localhost" || name.ends_with(".localhost"),
        Reach::Never(_) => false,
    }
}

fn v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [127, ..] => Reach::Loopback,
        [0, ..] => Reach::Never("an unspecified address"),
        [169, 254, ..] => Reach::Never("link-local, where clouds keep their metadata"),
        // Alibaba's, Azure's and Oracle's metadata lie outside the link-local range.
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, _] => Reach::Never("a cloud's metadata address"),
        [192, 88, 99, _] => Reach::Never("a 6to4 relay"),
        [224..=239, ..] => Reach::Never("multicast"),
        [240..=255, ..] => Reach::Never("reserved or broadcast"),
        _ => Reach::Open,
    }
}

/// Lists what is open: every form that holds an IPv4 address in a way of its own falls to the rest.
fn v6(address: Ipv6Addr) -> Reach {
    let s = address.segments();
    let tail = || v4(Ipv4Addr::from((u32::from(s[6]) << 16) | u32::from(s[7])));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        [0, 0, 0, 0, 0, 0xffff, ..] => tail(),
        // NAT64 of networks without IPv4; there is no loopback behind it.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => match tail() {
            Reach::Loopback => Reach::Never("loopback behind a translator"),
            other => other,
        },
        [0xfe80..=0xfebf, ..] => Reach::Never("link-local, where clouds keep their metadata"),
        [0xff00..=0xffff, ..] => Reach::Never("multicast"),
        // EC2, Google, Oracle, Scaleway.
        [0xfd00, 0xec2, ..]
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
        | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42] => Reach::Never("a cloud's metadata address"),
        [0x2001, 0, ..] | [0x2002, ..] | [.., 0 | 0x200, 0x5efe, _, _] => Reach::Never("a tunnel to an IPv4 address"),
        [0x2000..=0x3fff, ..] | [0xfc00..=0xfdff, ..] => Reach::Open,
        _ => Reach::Never("no unicast address of a network"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Reach {
        reach(text.parse().unwrap())
    }

    #[test]
    fn private_and_public_addresses_are_open() {
        for open in ["10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "8.8.8.8", "fd12::1", "2600:1f18::1", "64:ff9b::808:808"] {
            assert_eq!(of(open), Reach::Open, "{open}");
        }
        assert_eq!(of("::ffff:10.0.0.1"), Reach::Open);
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for loopback in ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"] {
            assert_eq!(of(loopback), Reach::Loopback, "{loopback}");
        }
    }

    #[test]
    fn what_is_nobodys_target_is_never_reached_in_any_spelling() {
        let never = [
            "169.254.169.254",
            "169.254.0.23",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::",
            "2001:0:1:2:3:4:5:6",
            "fd12::5efe:7f00:1",
            "2600::200:5efe:a9fe:a9fe",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "::169.254.169.254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "ff02::1",
            "100::1",
        ];
        for address in never {
            assert!(matches!(of(address), Reach::Never(_)), "{address}");
            assert!(!name_leads_to("localhost", address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_name_leads_to_this_machine_only_where_it_says_so() {
        let loopback = "127.0.0.1".parse().unwrap();
        for name in ["localhost", "LOCALHOST.", "a.localhost"] {
            assert!(name_leads_to(name, loopback), "{name}");
        }
        for name in ["prom.example", "xn--lcalhost-wnf", "localhost.example", "notlocalhost"] {
            assert!(!name_leads_to(name, loopback), "{name}");
        }
        assert!(name_leads_to("bmc1", "10.0.0.1".parse().unwrap()));
    }
}
