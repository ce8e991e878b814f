//! Secrets at rest: XChaCha20-Poly1305, a random nonce and a key id per record, and the record's own place as
//! associated data, so that a sealed value copied to another record does not open there.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// A secret as stored.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Which key opens it.
    pub key_id: String,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
}

/// The keys by id. New records are sealed with the current one; old ones open with the key that they name.
#[derive(Clone)]
pub struct Keyring {
    current: String,
    keys: BTreeMap<String, Zeroizing<[u8; 32]>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads a keyring: one `id:base64-of-32-bytes` per line or separated by commas, the first is the current
    /// one; lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// Names the entry that can't be read; never shows a key.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = BTreeMap::new();
        let mut current = None;
        for entry in text.split(['\n', ',']).map(str::trim).filter(|entry| !entry.is_empty() && !entry.starts_with('#'))
        {
            let (id, key) = parse_key(entry)?;
            if keys.insert(id.clone(), key).is_some() {
                return Err(Error::Keyring(format!("key \"{id}\" is there twice")));
            }
            current.get_or_insert(id);
        }
        let current = current.ok_or_else(|| Error::Keyring("there is no key in it".to_owned()))?;
        Ok(Self { current, keys })
    }

    /// A keyring's text with one new random key, for a first start.
    #[must_use]
    pub fn generate(id: &str) -> Zeroizing<String> {
        let key = Zeroizing::new(rand::random::<[u8; 32]>());
        Zeroizing::new(format!("{id}:{}\n", STANDARD.encode(key.as_slice())))
    }

    /// The id of the key that new records are sealed with.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Seals a secret for one place (`aad`), with the current key.
    ///
    /// # Errors
    /// The secret is longer than the cipher takes (256 GiB).
    pub fn seal(&self, secret: &SecretString, aad: &str) -> Result<Sealed> {
        let nonce = XNonce::generate();
        let sealed = self
            .cipher(&self.current)?
            .encrypt(&nonce, Payload { msg: secret.expose_secret().as_bytes(), aad: aad.as_bytes() })
            .map_err(|_| Error::Sealed { key_id: self.current.clone() })?;
        Ok(Sealed { key_id: self.current.clone(), nonce: nonce.to_vec(), sealed })
    }

    /// Opens what was sealed for the same place.
    ///
    /// # Errors
    /// The key is missing, or the record was changed or moved.
    pub fn open(&self, sealed: &Sealed, aad: &str) -> Result<SecretString> {
        let refused = || Error::Sealed { key_id: sealed.key_id.clone() };
        let nonce = XNonce::try_from(sealed.nonce.as_slice()).map_err(|_| refused())?;
        let plain = self
            .cipher(&sealed.key_id)?
            .decrypt(&nonce, Payload { msg: &sealed.sealed, aad: aad.as_bytes() })
            .map_err(|_| refused())?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| refused())
    }

    fn cipher(&self, id: &str) -> Result<XChaCha20Poly1305> {
        let key = self.keys.get(id).ok_or_else(|| Error::KeyMissing { key_id: id.to_owned() })?;
        XChaCha20Poly1305::new_from_slice(key.as_slice()).map_err(|_| Error::KeyMissing { key_id: id.to_owned() })
    }
}

fn parse_key(entry: &str) -> Result<(String, Zeroizing<[u8; 32]>)> {
    let (id, encoded) =
        entry.split_once(':').ok_or_else(|| Error::Keyring("an entry is not written as id:base64".to_owned()))?;
    let bytes = Zeroizing::new(
        STANDARD.decode(encoded.trim()).map_err(|_| Error::Keyring(format!("key \"{id}\" is not base64")))?,
    );
    let key = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| Error::Keyring(format!("key \"{id}\" has {} bytes, not 32", bytes.len())))?;
    Ok((id.trim().to_owned(), Zeroizing::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    #[test]
    fn a_secret_opens_with_the_key_that_sealed_it_after_the_current_key_changed() {
        let sealed = Keyring::parse(OLD).unwrap().seal(&"hunter2".into(), "endpoint/password").unwrap();
        assert!(!sealed.sealed.windows(7).any(|window| window == b"hunter2"));
        let both = Keyring::parse(&format!("# rotated\n{NEW}\n{OLD}")).unwrap();
        assert_eq!(both.current(), "new");
        assert_eq!(both.open(&sealed, "endpoint/password").unwrap().expose_secret(), "hunter2");
    }

    #[test]
    fn a_secret_moved_to_another_record_does_not_open() {
        let keys = Keyring::parse(OLD).unwrap();
        let sealed = keys.seal(&"hunter2".into(), "a/password").unwrap();
        assert!(matches!(keys.open(&sealed, "b/password"), Err(Error::Sealed { .. })));
    }

    #[test]
    fn a_missing_key_is_named() {
        let sealed = Keyring::parse(OLD).unwrap().seal(&"x".into(), "a").unwrap();
        let error = Keyring::parse(NEW).unwrap().open(&sealed, "a").unwrap_err();
        assert_eq!(error.to_string(), "a secret is sealed with key \"old\", which the keyring does not have");
    }

    #[test]
    fn bad_keyrings_are_refused_without_showing_a_key() {
        for text in ["", "short:AAAA", "nocolon", "x:!!!", &format!("{OLD}\n{OLD}")] {
            let error = Keyring::parse(text).unwrap_err().to_string();
            assert!(!error.contains("AAAA"), "{error}");
        }
        assert!(Keyring::parse(&Keyring::generate("k1")).is_ok());
    }
}
