//! The keys of an RMCP+ session, as IPMI v2.0 rev. 1.1 says in 13.20 to 13.33: RAKP's codes, SIK, K1, K2, the code below each
//! packet and AES-CBC-128 with its own padding. Pure. What is secret here never leaves the host.

use aes::Aes128;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

const BLOCK: usize = 16;

/// What a session is made with. Lesser suites (no encryption, MD5, RC4) are never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    /// Strongest first.
    pub const ALL: [Self; 2] = [Self::Seventeen, Self::Three];

    /// Its number in the specification (table 22-20).
    pub fn id(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// The suite of a number; none of one that is not spoken.
    pub fn of(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.id() == id)
    }

    /// Numbers of its authentication, integrity and confidentiality algorithm.
    pub(super) fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Three => [1, 1, 1],
            Self::Seventeen => [3, 4, 1],
        }
    }

    /// Bytes below a packet, and of the code in RAKP 4.
    pub(super) fn code_len(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Three => hmac::<Hmac<Sha1>>(key, parts),
            Self::Seventeen => hmac::<Hmac<Sha256>>(key, parts),
        }
    }
}

/// Every key here is shorter than a block, which HMAC fills with zeros.
fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut block = Key::<M>::default();
    block.iter_mut().zip(key).for_each(|(b, k)| *b = *k);
    let mut mac = <M as KeyInit>::new(&block);
    parts.iter().for_each(|p| mac.update(p));
    mac.finalize().into_bytes().to_vec()
}

/// Whether two codes are the same, in a time that says nothing of where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// What both sides have said in the exchange; its codes bind all of it.
pub(super) struct Exchange<'a> {
    pub suite: Suite,
    pub console_id: u32,
    pub managed_id: u32,
    pub console_random: [u8; 16],
    pub managed_random: [u8; 16],
    pub guid: [u8; 16],
    /// The privilege that is asked for, and how the user is looked up.
    pub role: u8,
    pub user: &'a [u8],
}

impl Exchange<'_> {
    fn user_len(&self) -> [u8; 1] {
        [self.user.len() as u8]
    }

    /// The BMC's proof in RAKP 2 that it knows the password.
    pub(super) fn rakp2(&self, password: &[u8]) -> Vec<u8> {
        let (console, managed) = (self.console_id.to_le_bytes(), self.managed_id.to_le_bytes());
        let role = [self.role];
        let parts: [&[u8]; 8] =
            [&console, &managed, &self.console_random, &self.managed_random, &self.guid, &role, &self.user_len(), self.user];
        self.suite.hmac(password, &parts)
    }

    /// This side's proof in RAKP 3.
    pub(super) fn rakp3(&self, password: &[u8]) -> Vec<u8> {
        let console = self.console_id.to_le_bytes();
        self.suite.hmac(password, &[&self.managed_random, &console, &[self.role], &self.user_len(), self.user])
    }

    /// The session integrity key. Without a key of the BMC's own (KG) the password stands for it.
    pub(super) fn sik(&self, password: &[u8]) -> Vec<u8> {
        self.suite.hmac(password, &[&self.console_random, &self.managed_random, &[self.role], &self.user_len(), self.user])
    }

    /// The BMC's proof in RAKP 4 that it has the same session integrity key.
    pub(super) fn rakp4(&self, sik: &[u8]) -> Vec<u8> {
        let mut code = self.suite.hmac(sik, &[&self.console_random, &self.managed_id.to_le_bytes(), &self.guid]);
        code.truncate(self.suite.code_len());
        code
    }
}

/// What a session's packets are signed and encrypted with.
pub(super) struct Keys {
    suite: Suite,
    k1: Vec<u8>,
    /// The first bytes of K2.
    aes: [u8; BLOCK],
}

impl Keys {
    pub(super) fn of(suite: Suite, sik: &[u8]) -> Self {
        let (k1, k2) = (suite.hmac(sik, &[&[1; 20]]), suite.hmac(sik, &[&[2; 20]]));
        let mut aes = [0; BLOCK];
        aes.iter_mut().zip(&k2).for_each(|(a, k)| *a = *k);
        Self { suite, k1, aes }
    }

    pub(super) fn code_len(&self) -> usize {
        self.suite.code_len()
    }

    /// The code below a packet.
    pub(super) fn sign(&self, packet: &[u8]) -> Vec<u8> {
        let mut code = self.suite.hmac(&self.k1, &[packet]);
        code.truncate(self.suite.code_len());
        code
    }

    /// The vector, then the payload with its padding, encrypted.
    pub(super) fn encrypt(&self, vector: [u8; BLOCK], payload: &[u8]) -> Vec<u8> {
        let pad = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        let mut out = Vec::with_capacity(BLOCK + payload.len() + pad + 1);
        out.extend(vector);
        out.extend(payload);
        out.extend((1..=pad as u8).chain([pad as u8]));
        let mut cipher = cbc::Encryptor::<Aes128>::new(&self.aes.into(), &vector.into());
        for block in out[BLOCK..].as_chunks_mut::<BLOCK>().0 {
            let mut one = (*block).into();
            cipher.encrypt_block(&mut one);
            *block = one.into();
        }
        out
    }

    /// The payload of what was encrypted so; nothing where it is not.
    pub(super) fn decrypt(&self, data: &[u8]) -> Option<Vec<u8>> {
        let (vector, text) = data.split_first_chunk::<BLOCK>()?;
        if text.is_empty() || !text.len().is_multiple_of(BLOCK) {
            return None;
        }
        let mut out = text.to_vec();
        let mut cipher = cbc::Decryptor::<Aes128>::new(&self.aes.into(), &(*vector).into());
        for block in out.as_chunks_mut::<BLOCK>().0 {
            let mut one = (*block).into();
            cipher.decrypt_block(&mut one);
            *block = one.into();
        }
        let pad = usize::from(out.pop()?);
        let end = out.len().checked_sub(pad).filter(|_| pad < BLOCK)?;
        out[end..].iter().zip(1..).all(|(byte, n)| *byte == n).then(|| {
            out.truncate(end);
            out
        })
    }
}

#[cfg(test)]
#[path = "crypto_tests.rs"]
mod tests;
