//! The BMC's half of RAKP and of a session's keys, written from the specification and not from the host's code: a mistake that both
//! made would show nowhere.

use aes::Aes128;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

fn hmac_with<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut padded = Key::<M>::default();
    padded[..key.len()].copy_from_slice(key);
    let mut mac = <M as KeyInit>::new(&padded);
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// HMAC-SHA256 of suite 17, HMAC-SHA1 of suite 3.
pub(crate) fn hmac(suite: u8, key: &[u8], text: &[u8]) -> Vec<u8> {
    if suite == 17 { hmac_with::<Hmac<Sha256>>(key, text) } else { hmac_with::<Hmac<Sha1>>(key, text) }
}

/// Bytes of the code below a packet.
pub(crate) fn code_len(suite: u8) -> usize {
    if suite == 17 { 16 } else { 12 }
}

/// K1, and the AES key of K2.
#[derive(Clone)]
pub(crate) struct Keys {
    pub suite: u8,
    k1: Vec<u8>,
    aes: [u8; 16],
}

impl Keys {
    pub(crate) fn new(suite: u8, sik: &[u8]) -> Self {
        let k2 = hmac(suite, sik, &[2; 20]);
        let mut aes = [0; 16];
        aes.copy_from_slice(&k2[..16]);
        Self { suite, k1: hmac(suite, sik, &[1; 20]), aes }
    }

    pub(crate) fn code(&self, packet: &[u8]) -> Vec<u8> {
        hmac(self.suite, &self.k1, packet)[..code_len(self.suite)].to_vec()
    }

    pub(crate) fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let mut text = payload.to_vec();
        let mut pad = 0;
        while !(text.len() + 1).is_multiple_of(16) {
            pad += 1;
            text.push(pad);
        }
        text.push(pad);
        let vector: [u8; 16] = rand::random();
        let mut cipher = cbc::Encryptor::<Aes128>::new(&self.aes.into(), &vector.into());
        let mut out = vector.to_vec();
        for block in text.as_chunks::<16>().0 {
            let mut block = (*block).into();
            cipher.encrypt_block(&mut block);
            out.extend(block.iter());
        }
        out
    }

    pub(crate) fn unseal(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (vector, text) = sealed.split_first_chunk::<16>()?;
        let mut cipher = cbc::Decryptor::<Aes128>::new(&self.aes.into(), &(*vector).into());
        let mut out = Vec::new();
        for block in text.as_chunks::<16>().0 {
            let mut block = (*block).into();
            cipher.decrypt_block(&mut block);
            out.extend(block.iter());
        }
        let pad = usize::from(out.pop()?);
        out.truncate(out.len().checked_sub(pad)?);
        Some(out)
    }
}
