//! What a plugin may reach: an operator's list, one entry a line, then after a NUL `METHOD URL` of a request. What is admitted
//! is in the list by another way of looking, too, and is sent as it was judged.

use std::net::IpAddr;

use kcloud_monitor::plugins::capabilities::address::{Reach, reach};
use kcloud_monitor::plugins::capabilities::http_policy::{Origin, Policy};
use reqwest::Url;

pub fn run(input: &[u8]) {
    let [entries, request] = crate::parts(input).map(String::from_utf8_lossy);
    let policy = Policy::new(entries.lines());
    let (method, url) = request.split_once(' ').unwrap_or(("GET", &request));
    let approved = match policy.check(method, url, &[]) {
        Ok(approved) => approved,
        Err(denied) => return crate::assert_tellable(&denied.to_string()),
    };
    assert!(matches!(approved.method.as_str(), "GET" | "HEAD"), "{} was not granted", approved.method);
    let sent = &approved.url;
    assert!(matches!(sent.scheme(), "http" | "https") && sent.username().is_empty() && sent.password().is_none(), "{sent}");
    assert_eq!(Origin::of(sent.as_str()), Ok(approved.origin.clone()));
    let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_ascii_lowercase), url.port_or_known_default());
    let is_listed = entries.lines().any(|entry| Url::parse(entry).is_ok_and(|listed| place(&listed) == place(sent)));
    let host = sent.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    assert!(is_listed || address.is_some_and(|a| entries.lines().any(|entry| in_range(entry, a, sent.port_or_known_default()))), "{sent}");
    match address.map(reach) {
        Some(Reach::Never(why)) => panic!("{sent} is {why}"),
        Some(Reach::Loopback) => assert!(is_listed, "{sent} was not written as such"),
        Some(Reach::Open) | None => {}
    }
}

/// Whether `network/bits:port` holds an address, bit by bit.
fn in_range(entry: &str, address: IpAddr, port: Option<u16>) -> bool {
    let bits = |a: IpAddr| -> Vec<bool> {
        let octets = match a {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        octets.iter().flat_map(|o| (0..8).rev().map(move |i| o >> i & 1 == 1)).collect()
    };
    let parsed = || {
        let (network, rest) = entry.split_once('/')?;
        let (length, of_port) = rest.split_once(':')?;
        let network: IpAddr = network.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some((bits(network), length.parse::<usize>().ok()?, of_port.parse::<u16>().ok()?))
    };
    let given = bits(address);
    parsed().is_some_and(|(network, length, of_port)| {
        network.len() == given.len() && network.get(..length).is_some_and(|n| n == &given[..length]) && Some(of_port) == port
    })
}
