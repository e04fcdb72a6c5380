use minisign::KeyPair;
use proptest::prelude::*;

use super::*;

const NAME: &str = "nvidia-dcgm";

/// Bytes that begin as a component.
fn component(more: &[u8]) -> Bytes {
    [b"\0asm\x0d\0\x01\0", more].concat().into()
}

fn pair() -> (KeyPair, Key) {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let key = Key::parse(&pair.pk.to_base64()).unwrap();
    (pair, key)
}

/// A signature's file.
fn sign(pair: &KeyPair, bytes: &[u8], comment: &str) -> String {
    minisign::sign(None, &pair.sk, bytes, Some(comment), None).unwrap().to_string()
}

fn candidate(bytes: &Bytes, signature: Option<&str>) -> Candidate {
    let signature = signature.map(|s| Ok(Bytes::copy_from_slice(s.as_bytes())));
    Candidate { name: NAME.into(), place: Place::Plugins, bytes: bytes.clone(), signature }
}

fn policy(demand: Option<Demand>, is_loopback: bool, keys: &[Key]) -> Policy {
    Policy {
        demand,
        is_loopback,
        keys: keys.to_vec(),
        dev_dir: None,
        bundled: Bundled(vec![(NAME.into(), ContentDigest::of(&component(b"ours")))]),
    }
}

#[test]
fn every_demand_takes_what_it_says_and_names_its_rule() {
    use Demand::{Any, Pinned, Signed};
    let ((ours, key), (theirs, foreign)) = (pair(), pair());
    let (own, other) = (component(b"ours"), component(b"other"));
    let pin = [ContentDigest::of(&other)];
    let (signed, by_foreign) = (sign(&ours, &other, "component:nvidia-dcgm"), sign(&theirs, &other, ""));
    let broken = sign(&ours, &own, "");
    let id = key.id().to_string();
    // Bytes, signature, pins; then by demand and loopback what comes of it: a kind of trust, or a part of the reason.
    type Case<'a> = (&'a Bytes, Option<&'a str>, &'a [ContentDigest], [(Option<Demand>, bool, Result<&'a str, &'a str>); 5]);
    let all = |signed, pinned, any, lone, beyond| {
        [(Some(Signed), true, signed), (Some(Pinned), true, pinned), (Some(Any), false, any), (None, true, lone), (None, false, beyond)]
    };
    let every = |trust| all(Ok(trust), Ok(trust), Ok(trust), Ok(trust), Ok(trust));
    let cases: [Case<'_>; 7] = [
        (&own, None, &[], every("bundled")),
        (&other, Some(&signed), &[], every("signed")),
        (&other, None, &pin, all(Err("trust = \"signed\""), Ok("pinned"), Ok("pinned"), Ok("pinned"), Ok("pinned"))),
        (&other, None, &[], all(Err("no signature"), Err("trust = \"pinned\""), Ok("any"), Ok("any"), Err("beyond loopback"))),
        (&other, Some(&by_foreign), &[], all(Err("not among [plugins] keys"), Err("not among"), Ok("any"), Ok("any"), Err("not among"))),
        // What is said about a component and is wrong is more than silence.
        (&other, Some(&broken), &[], all(Err("not valid"), Err("not valid"), Ok("any"), Err("not valid"), Err("not valid"))),
        (
            &component(b"third"),
            None,
            &pin,
            all(Err("not among sha256"), Err("not among sha256"), Ok("any"), Err("not among sha256"), Err("sha256")),
        ),
    ];
    for (bytes, signature, pins, outcomes) in cases {
        for (demand, is_loopback, expected) in outcomes {
            let judged = policy(demand, is_loopback, std::slice::from_ref(&key)).judge(&candidate(bytes, signature), pins);
            let what = format!("{demand:?} {is_loopback} {expected:?}: {judged:?}");
            match (judged, expected) {
                (Ok(verified), Ok(trust)) => {
                    assert_eq!(verified.admission().trust.name(), trust, "{what}");
                    assert_eq!(verified.admission().trust.key().map(|k| k.to_string()), (trust == "signed").then(|| id.clone()));
                    assert_eq!(verified.admission().trust.is_unsigned(), trust == "any");
                    assert_eq!(verified.bytes(), bytes);
                }
                (Err(refusal), Err(reason)) => assert!(refusal.to_string().contains(reason), "{what}"),
                _ => panic!("{what}"),
            }
        }
    }
    // The digest alone is not the bundled component: it has a name.
    let renamed = Candidate { name: "other".into(), ..candidate(&own, None) };
    assert!(policy(Some(Signed), true, &[foreign]).judge(&renamed, &[]).is_err());
}

#[test]
fn a_signature_that_does_not_fit_says_why() {
    let ((ours, key), (theirs, _)) = (pair(), pair());
    let bytes = component(b"signed");
    let good = sign(&ours, &bytes, "timestamp:1\tcomponent:nvidia-dcgm\tsha256:x");
    let lines: Vec<&str> = good.lines().collect();
    let with = |i: usize, line: &str| {
        let mut lines = lines.clone();
        lines[i] = line;
        lines.join("\n") + "\n"
    };
    let judge = |bytes: &Bytes, signature: Option<Result<Bytes, String>>| {
        let candidate = Candidate { signature, ..candidate(bytes, None) };
        policy(Some(Demand::Signed), true, std::slice::from_ref(&key))
            .judge(&candidate, &[])
            .map(|v| v.admission().trust)
            .map_err(|e| e.to_string())
    };
    let text = |s: &str| Some(Ok(Bytes::copy_from_slice(s.as_bytes())));
    assert_eq!(judge(&bytes, text(&good)), Ok(Trust::Signed(key.id())));
    // Made by plain minisign, whose comment names no component.
    assert_eq!(judge(&bytes, text(&sign(&ours, &bytes, "timestamp:1\tfile:x.wasm\thashed"))), Ok(Trust::Signed(key.id())));
    let swapped = lines[1].replace(char::is_alphabetic, "A");
    for (signature, expected) in [
        (None, "no signature (nvidia-dcgm.wasm.minisig)"),
        (Some(Err("it has 9000 bytes; the limit is 8192".into())), "limit is 8192"),
        (text(&sign(&theirs, &bytes, "")), "not among [plugins] keys"),
        (text(&sign(&ours, &component(b"signee"), "")), "Signature verification failed"),
        (text(&with(2, "trusted comment: timestamp:1\tcomponent:nvidia-dcgm\tsha256:y")), "Comment signature verification failed"),
        (text(&sign(&ours, &bytes, "component:prometheus")), "made for component \"prometheus\", not \"nvidia-dcgm\""),
        (text(&with(1, &swapped)), "not valid"),
        (text(&with(3, "")), "not whole"),
        (text(&with(3, &lines[3][..40])), "not whole"),
        (text(&good[..good.len() / 2]), "not whole"),
        (text(""), "not whole"),
        (text(&(good.clone() + "\n")), "not whole"),
        (Some(Ok(Bytes::from_static(b"\xff\xfe"))), "not text"),
    ] {
        let reason = judge(&bytes, signature).unwrap_err();
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let mut altered = bytes.to_vec();
    altered[10] ^= 1;
    assert!(judge(&altered.into(), text(&good)).unwrap_err().contains("Signature verification failed"));
}

/// Made by Debian's minisign 0.11 over `component(b"")`: as it signs now, and as before 0.8 (`-l`).
const PUBLIC: &str = "RWRc0WDicByCSdRBzGriHqiCdqnv1HbK1Ko3MNPl8FQ8gWud1737bWAq";
const HASHED: &str = "untrusted comment: signature from minisign secret key
RURc0WDicByCSVC62jN1mYYS6TbBbZwqEA26ET1eivkSf+jFz6U6Ca3DNEvhmyk7BMZ/33N5ti6OiEEZIOYVqVh7QfMkqPGwqAQ=
trusted comment: timestamp:1795691083\tfile:c.wasm\thashed
o+prq+/JQ3nfb1Xj3qhcITFT0rGMFQHMdD0Y6iBoOWEalhCs+3SP2b5EQzoTl/UIqk4Yd82ODlYfp4VGgX1OCQ==
";
const LEGACY: &str = "untrusted comment: signature from minisign secret key
RWRc0WDicByCSUmxUHvk/8KnVU0LcUVEm9qEZ+LztEEkapjdPqhWUoJlBAGATU3J1r/pldaZ3mCvLGc+RDgFrLHekL9GklvzWgQ=
trusted comment: timestamp:1795691083\tfile:c.wasm
krKPHJlYhzCAUmgkvta0JIJGm3aFnnHtlbnHlDtE7snP2KsvgN2k1g9rKRl8Y+hKiE4OUkfUMVRyR16y22WIDA==
";

#[test]
fn minisigns_own_signatures_count_in_both_forms_and_another_verifier_agrees() {
    let key = Key::parse(PUBLIC).unwrap();
    assert_eq!(key.id().to_string(), "49821C70E260D15C");
    let (bytes, altered) = (component(b""), component(b"\0"));
    for signature in [HASHED, LEGACY] {
        let examined = |bytes: &Bytes| Signed::examine(&candidate(bytes, Some(signature)), std::slice::from_ref(&key));
        assert_eq!(examined(&bytes), Signed::By(key.clone()));
        assert!(matches!(examined(&altered), Signed::Bad(_)));
    }
    let (ours, _) = pair();
    let other = minisign_verify::PublicKey::from_base64(&ours.pk.to_base64()).unwrap();
    let text = sign(&ours, &bytes, "component:nvidia-dcgm");
    let signature = minisign_verify::Signature::decode(&text).unwrap();
    other.verify(&bytes, &signature, false).unwrap();
    assert!(other.verify(&altered, &signature, false).is_err());
}

proptest! {
    /// The library alone panics on a second signature that is short.
    #[test]
    fn no_signature_file_stops_the_host_or_passes_for_another(at in 0usize..300, byte: u8, cut in 0usize..300) {
        let key = Key::parse(PUBLIC).unwrap();
        let bytes = component(b"");
        let mut file = HASHED.as_bytes().to_vec();
        let at = at % file.len();
        file[at] = byte;
        for file in [&file[..], &HASHED.as_bytes()[..cut.min(HASHED.len() - 2)]] {
            let candidate = Candidate { signature: Some(Ok(Bytes::copy_from_slice(file))), ..candidate(&bytes, None) };
            let signed = Signed::examine(&candidate, std::slice::from_ref(&key));
            // Only the comment that nobody trusts may differ.
            let first = HASHED.find('\n').unwrap();
            prop_assert!(!matches!(signed, Signed::By(_)) || file[first..] == HASHED.as_bytes()[first..], "{:?}", String::from_utf8_lossy(file));
        }
    }
}

#[test]
fn what_runs_is_judged_again_without_its_bytes() {
    let ((ours, key), (_, second)) = (pair(), pair());
    let bytes = component(b"x");
    let pin = [ContentDigest::of(&bytes)];
    let file = sign(&ours, &bytes, "");
    let both = policy(Some(Demand::Signed), false, &[second.clone(), key]);
    let signed = both.judge(&candidate(&bytes, Some(&file)), &[]).unwrap().admission().clone();
    assert_eq!(both.again(&signed, &[]), Ok(signed.clone()));
    let revoked = policy(Some(Demand::Pinned), false, &[second]);
    assert!(revoked.again(&signed, &[]).unwrap_err().to_string().contains("not among [plugins] keys"));
    let pinned = revoked.again(&signed, &pin).unwrap();
    assert_eq!(pinned.trust, Trust::Pinned);
    assert!(revoked.again(&pinned, &[]).is_err(), "the pin is gone");
    assert_eq!(policy(Some(Demand::Any), false, &[]).again(&pinned, &[]).unwrap().trust, Trust::Any);
}

#[test]
fn dev_dir_is_for_what_lies_in_it_and_says_so() {
    let bytes = component(b"x");
    let strict = policy(Some(Demand::Signed), false, &[]);
    let with = Policy { dev_dir: Some("/dev-plugins".into()), ..strict.clone() };
    let dev = Candidate { place: Place::Dev, ..candidate(&bytes, None) };
    let admitted = with.judge(&dev, &[]).unwrap().admission().clone();
    assert_eq!((admitted.trust, admitted.trust.is_unsigned()), (Trust::Dev, true));
    assert!(strict.again(&admitted, &[]).is_err(), "dev_dir is gone from the configuration");
    assert!(with.judge(&candidate(&bytes, None), &[]).is_err(), "it lies in the plugins directory");
    let own = Candidate { place: Place::PluginsBeforeDev, ..candidate(&component(b"ours"), None) };
    let rule = with.judge(&own, &[]).unwrap().admission().rule.clone();
    assert!(rule.contains("another nvidia-dcgm.wasm in dev_dir is not used"), "{rule}");
    let refusal = with.judge(&Candidate { bytes, ..own }, &[]).unwrap_err().to_string();
    assert!(refusal.contains("no signature") && refusal.contains("in dev_dir is not used"), "{refusal}");
}

#[test]
fn machine_code_is_refused_whoever_vouches_for_it() {
    let precompiled = wasmtime::Engine::default().precompile_component(&component(b"")).unwrap();
    for (bytes, expected) in [
        (precompiled.as_slice(), "machine code (ELF"),
        (&std::fs::read("/proc/self/exe").unwrap(), "machine code (ELF"),
        (b"\0asm\x01\0\0\0", "core module"),
        (b"\0asm\x0e\0\x01\0", "form that this host does not know"),
        (b"\0asm", "form that this host does not know"),
        (b"(component)", "not WebAssembly"),
        (b"", "not WebAssembly"),
    ] {
        let bytes = Bytes::copy_from_slice(bytes);
        let policy = Policy { bundled: Bundled(vec![(NAME.into(), ContentDigest::of(&bytes))]), ..policy(Some(Demand::Any), true, &[]) };
        let refusal = policy.judge(&candidate(&bytes, None), &[ContentDigest::of(&bytes)]).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{refusal}");
    }
}

#[test]
fn keys_are_read_from_their_text_and_their_file_and_say_what_is_wrong() {
    let (pair, key) = pair();
    let file = pair.pk.to_box().unwrap().to_string();
    assert_eq!((Key::parse_file(&file), Key::parse_file(&pair.pk.to_base64())), (Ok(key.clone()), Ok(key)));
    let secret = pair.sk.to_box(None).unwrap().to_string();
    for (text, expected) in [
        ("", (1, "no minisign public key")),
        ("untrusted comment: x\n", (1, "no minisign public key")),
        ("untrusted comment: x\nRWRc0WDicByCSdRBz\n", (2, "not a minisign public key")),
        ("ssh-ed25519 AAAA\n", (1, "not a minisign public key")),
        (&secret, (2, "a secret key")),
    ] {
        let (line, reason) = Key::parse_file(text).unwrap_err();
        assert!(line == expected.0 && reason.contains(expected.1), "{text:?}: {line} {reason}");
    }
}
