//! Primitives against RFC 2202, RFC 4231 and NIST SP 800-38A; what is derived with them against values that Python's `hmac` and
//! `openssl enc` computed from the formulas of the specification (13.28 to 13.33), since it prints none.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn counted(from: u8) -> [u8; 16] {
    std::array::from_fn(|i| from + i as u8)
}

fn exchange(suite: Suite) -> Exchange<'static> {
    Exchange {
        suite,
        console_id: 0xa0a1_a2a3,
        managed_id: 0xb0b1_b2b3,
        console_random: counted(0),
        managed_random: counted(0x10),
        guid: counted(0x20),
        role: 0x14,
        user: b"admin",
    }
}

#[test]
fn the_primitives_agree_with_their_published_vectors() {
    // RFC 2202 case 2, RFC 4231 cases 2 and 1.
    let jefe = |suite: Suite| suite.hmac(b"Jefe", &[b"what do ya ", b"want for nothing?"]);
    assert_eq!(jefe(Suite::Three), hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
    assert_eq!(jefe(Suite::Seventeen), hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    let there = Suite::Seventeen.hmac(&[0x0b; 20], &[b"Hi There"]);
    assert_eq!(there, hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
    // SP 800-38A, F.2.1.
    let key: [u8; 16] = hex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
    let keys = Keys { suite: Suite::Seventeen, k1: Vec::new(), aes: key };
    let text = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    let sealed = keys.encrypt(counted(0), &text);
    assert_eq!(sealed[16..48], hex("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"));
    assert_eq!(keys.decrypt(&sealed).unwrap(), text);
}

#[test]
fn every_key_is_what_the_formulas_give() {
    let cases = [
        (
            Suite::Three,
            [
                "769fe13dca3caaacae416ef0c729e6458eff94b9",
                "cdcd08933be56149b6c438ac395faf134fece7e9",
                "5eb4c3e6ad6c0aa89c46c00db2aa6e661f5b2917",
                "d0811a13bd060a1cf17418c9",
                "e215d5c5894c7e16f91e10918e47a7e55cf98b1d",
                "1d31d1a02da48aff580efc0f12e4b84a",
                "8b0d75798790a1886e39499023248669",
                "6ee3e54b6cf838c5d91eb078",
            ],
        ),
        (
            Suite::Seventeen,
            [
                "84f291528d9c8f8578798f7813542289db54241d83c91ae1232af89734c314f9",
                "a82e131fed615a59a03a17a231757f88d0cbeaa315225be729f503231da8b354",
                "9f4e63abd86d779546f34cdbd8789fdc4f6ad39a4dcc6bb26d8f20d582383262",
                "7d5e539e2543daa5a56f173ea5883c6d",
                "3964319ffa53d31ac48577bcac1fd9d4d7f9f40853f7cfc48482419392734eee",
                "893918861b6f74face6ed0bb59083bbc",
                "dc09ee1d3578438ce07027fc9d10fea2",
                "413de351d78227d77dc4a9bcdb36e458",
            ],
        ),
    ];
    for (suite, [rakp2, rakp3, sik, rakp4, k1, k2, sealed, signed]) in cases {
        let (exchange, password) = (exchange(suite), b"secret1");
        assert_eq!(exchange.rakp2(password), hex(rakp2), "{suite:?}");
        assert_eq!(exchange.rakp3(password), hex(rakp3), "{suite:?}");
        assert_eq!(exchange.sik(password), hex(sik), "{suite:?}");
        assert_eq!(exchange.rakp4(&hex(sik)), hex(rakp4), "{suite:?}");
        let keys = Keys::of(suite, &hex(sik));
        assert_eq!((keys.k1.as_slice(), keys.aes.as_slice()), (hex(k1).as_slice(), hex(k2).as_slice()), "{suite:?}");
        assert_eq!(keys.encrypt(counted(0x30), &hex("2018c881043b3c04"))[16..], hex(sealed), "{suite:?}");
        assert_eq!(keys.sign(b"06c006c006c0"), hex(signed), "{suite:?}");
    }
}

#[test]
fn what_was_not_encrypted_so_is_nothing() {
    let keys = Keys::of(Suite::Seventeen, &[7; 32]);
    for length in 0..40 {
        let payload = vec![9; length];
        assert_eq!(keys.decrypt(&keys.encrypt(counted(1), &payload)), Some(payload));
    }
    let sealed = keys.encrypt(counted(1), b"reading");
    assert_eq!(keys.decrypt(&sealed[..16]), None);
    assert_eq!(keys.decrypt(&sealed[..31]), None);
    let mut other = sealed.clone();
    other[31] ^= 1;
    assert_ne!(keys.decrypt(&other), Some(b"reading".to_vec()));
}
