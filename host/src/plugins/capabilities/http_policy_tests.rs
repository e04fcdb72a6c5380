//! The policy as tables: what passes and what does not.

use super::*;

fn get(policy: &Policy, url: &str) -> Result<Approved, Denied> {
    policy.check("GET", url, &[])
}

#[test]
fn only_written_origins_are_reached() {
    let p = Policy::new(["http://10.0.0.11:9400/metrics", "https://prom.example"]);
    for ok in ["http://10.0.0.11:9400/other", "https://prom.example:443/api", "https://PROM.example/x", "http://0xa00000b:9400/"] {
        assert!(get(&p, ok).is_ok(), "{ok}");
    }
    for bad in [
        "http://10.0.0.11:9401/metrics",
        "https://10.0.0.11:9400/",
        "http://prom.example/",
        "https://prom.example./",
        "https://prom.example:444/",
        "https://prom.example@10.0.0.12/",
        "https://evil.example/prom.example",
        "http://10.0.0.12:9400/",
        "ftp://10.0.0.11:9400/",
        "http://u:p@10.0.0.11:9400/",
        "http://[fe80::1%25eth0]/",
        "metrics",
        "//prom.example/",
        "http://0xa00000b:9401/",
    ] {
        assert!(get(&p, bad).is_err(), "{bad}");
    }
}

#[test]
fn a_range_opens_its_literal_addresses_on_its_port_and_no_name() {
    let p = Policy::new(["10.1.0.0/16:9400", "[fd12::]/16:9400", "0.0.0.0/0:80", "[::]/0:80", "127.0.0.0/8:9400"]);
    for ok in ["http://10.1.255.3:9400/metrics", "https://10.1.0.1:9400/", "http://[fd12:1::2]:9400/", "http://8.8.8.8/"] {
        assert!(get(&p, ok).is_ok(), "{ok}");
    }
    for bad in
        ["http://10.2.0.1:9400/", "http://10.1.0.1:9401/", "http://worker1:9400/", "http://[fd13::1]:9400/", "http://127.0.0.1:9400/"]
    {
        assert!(get(&p, bad).is_err(), "{bad}");
    }
    for bad in ["10.0.0.0/33:9400", "10.0.0.0/16", "10.0.0/16:1", "/16:1"] {
        assert!(Policy::entry(bad).is_err(), "{bad}");
    }
}

#[test]
fn no_spelling_of_loopback_or_metadata_slips_through_the_widest_range() {
    let p = Policy::new(["0.0.0.0/0:80", "[::]/0:80"]);
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "017700000001",
        "0177.0.0.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "[fe80::a9fe:a9fe]",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "0",
        "[::]",
        "255.255.255.255",
        "224.0.0.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "ｌｏｃａｌｈｏｓｔ",
        "lоcalhost",
        "metadata.google.internal",
    ] {
        assert!(get(&p, &format!("http://{host}/")).is_err(), "{host}");
    }
}

#[test]
fn loopback_is_reached_where_the_operator_wrote_it_and_metadata_not_even_then() {
    let p = Policy::new(["http://127.0.0.1:9400", "http://localhost:9400", "http://169.254.169.254"]);
    for ok in ["http://127.0.0.1:9400/", "http://2130706433:9400/", "http://localhost:9400/"] {
        assert!(get(&p, ok).is_ok(), "{ok}");
    }
    for bad in ["http://[::1]:9400/", "http://[::ffff:127.0.0.1]:9400/", "http://localhost.:9400/", "http://127.0.0.2:9400/"] {
        assert!(matches!(get(&p, bad), Err(Denied::Origin(_))), "{bad}");
    }
    assert!(matches!(get(&p, "http://169.254.169.254/latest"), Err(Denied::Address(..))));
    assert!(matches!(Policy::entry("http://[fe80::1]/"), Err(Denied::Address(..))));
}

#[test]
fn a_credential_can_never_be_used_to_change_anything() {
    let p = Policy::new(["http://a:1"]);
    for method in ["POST", "DELETE", "PATCH", "PUT", "CONNECT", "TRACE", "OPTIONS", "get", "Get", "GET ", "", "GET /x HTTP/1.1\r\n"] {
        assert!(matches!(p.check(method, "http://a:1/", &[]), Err(Denied::Method(_))), "{method:?}");
    }
    assert_eq!(p.check("HEAD", "http://a:1/", &[]).unwrap().method, Method::HEAD);
    assert!(matches!(get(&p, "http://a:1/?a=1&_method=DELETE"), Err(Denied::Override)));
    assert!(matches!(get(&p, "http://a:1/?%5Fmethod=DELETE"), Err(Denied::Override)));
}

const SESSIONS: &str = "POST https://bmc1/redfish/v1/SessionService/Sessions";

#[test]
fn a_granted_method_opens_its_path_and_no_other_however_it_is_spelt() {
    let mut p = Policy::new(["https://bmc1", "https://bmc2"]);
    p.allow_method(SESSIONS).unwrap();
    p.allow_method("DELETE https://bmc1/redfish/v1/SessionService/Sessions/*").unwrap();
    for (method, ok) in [
        ("POST", "https://bmc1/redfish/v1/SessionService/Sessions"),
        ("POST", "https://bmc1/redfish/v1/SessionService/Sessions?x=1"),
        ("POST", "https://bmc1:443/redfish/v1/./SessionService/x/../Sessions#f"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/12"),
    ] {
        let approved = p.check(method, ok, &[]).unwrap();
        assert_eq!(approved.method, method);
        assert!(approved.url.path().starts_with("/redfish/v1/SessionService/Sessions"), "{ok}");
    }
    for (method, bad) in [
        ("POST", "https://bmc2/redfish/v1/SessionService/Sessions"),
        ("POST", "https://bmc1/redfish/v1/SessionService/Sessions/"),
        ("POST", "https://bmc1/redfish/v1/SessionService/Sessions/1"),
        ("POST", "https://bmc1/redfish/v1/SessionService/sessions"),
        ("POST", "https://bmc1/redfish/v1/SessionService/%53essions"),
        ("POST", "https://bmc1/redfish/v1/SessionService//Sessions"),
        ("POST", "https://bmc1/redfish/v1/SessionService%2fSessions"),
        ("POST", "https://bmc1/redfish/v1/SessionService%2FSessions"),
        ("POST", "https://bmc1/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"),
        ("POST", "https://bmc1/redfish/v1/SessionService/Sessions/..%2f..%2fSystems/1/Actions/ComputerSystem.Reset"),
        ("POST", "https://bmc1/redfish/v1/SessionService/Sessions;/../../Systems"),
        ("PUT", "https://bmc1/redfish/v1/SessionService/Sessions"),
        ("post", "https://bmc1/redfish/v1/SessionService/Sessions"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/1/2"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/.."),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/%2e%2e"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/..%2fx"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/a%5cb"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/a;b"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/*"),
        ("DELETE", "https://bmc1/redfish/v1/SessionService/Sessions/a\\b"),
    ] {
        assert!(matches!(p.check(method, bad, &[]), Err(Denied::Method(_))), "{method} {bad}");
    }
}

#[test]
fn a_grant_of_a_method_says_what_it_opens() {
    let mut p = Policy::new(["https://bmc1"]);
    for bad in [
        "POST",
        "GET https://bmc1/x",
        "CONNECT https://bmc1/x",
        "post https://bmc1/x",
        "POST https://bmc1/a*",
        "POST https://bmc1/*/x",
        "POST https://bmc1/a%2fb",
        "POST https://bmc1/a//b",
        "POST https://bmc1/a?b",
        "POST https://bmc1/a#b",
        "POST  https://bmc1/a/../%62",
    ] {
        assert!(matches!(p.allow_method(bad), Err(Denied::Grant(_))), "{bad}");
    }
    assert!(matches!(p.allow_method("POST https://bmc2/x"), Err(Denied::Origin(_))));
}

#[test]
fn headers_that_are_the_hosts_or_no_headers_are_refused() {
    let p = Policy::new(["http://a:1"]);
    let with = |name: &str, value: &str| p.check("GET", "http://a:1/", &[(name.into(), value.into())]);
    for name in [
        "Authorization",
        "cookie",
        "HOST",
        "Connection",
        "Upgrade",
        "TE",
        "trailer",
        "Expect",
        "keep-alive",
        "Proxy-Authorization",
        "proxy-anything",
        "content-length",
        "Transfer-Encoding",
        "X-Forwarded-For",
        "x_forwarded_host",
        "Forwarded",
        "X-HTTP-Method-Override",
        "x_http_method_override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Impersonate-User",
        "X-Remote-User",
        "Sec-WebSocket-Key",
    ] {
        assert!(matches!(with(name, "x"), Err(Denied::Header(_))), "{name}");
    }
    for (name, value) in
        [("a", "b\r\nhost: c"), ("a", "b\nc"), ("a", "b\0"), ("a b", "c"), ("a\r\nb", "c"), ("", "c"), (":path", "/x"), ("é", "c")]
    {
        assert!(matches!(with(name, value), Err(Denied::BadHeader(_))), "{name:?} {value:?}");
    }
    for (name, value) in [("Accept", "text/plain"), ("X-Auth-Token", "t"), ("If-None-Match", "\"e\""), ("range", "bytes=0-9")] {
        assert!(with(name, value).is_ok(), "{name}");
    }
    let many: Vec<_> = (0..65).map(|i| (format!("x-{i}"), String::new())).collect();
    assert!(matches!(p.check("GET", "http://a:1/", &many), Err(Denied::Headers)));
    assert!(matches!(with("x-large", &"x".repeat(16 << 10)), Err(Denied::Headers)));
    assert!(matches!(get(&p, &format!("http://a:1/{}", "x".repeat(8 << 10))), Err(Denied::NotAUrl(_))));
}
