//! Random secrets and the digests by which they are kept: 256 random bits need no slow hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// What API tokens begin with.
pub const API_PREFIX: &str = "wmk_";
/// What worker tokens begin with.
pub const WORKER_PREFIX: &str = "wmw_";
/// What refresh tokens begin with.
pub const REFRESH_PREFIX: &str = "wmr_";
/// What the cookies of pages begin with.
pub const PAGE_PREFIX: &str = "wmp_";

/// A new secret with a prefix that tells what it is.
#[must_use]
pub fn make(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// A code that a person can type: four groups of four letters, 80 bits with the digits that can't be confused.
#[must_use]
pub fn make_code() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let bytes = rand::random::<[u8; 16]>();
    let letters: Vec<char> = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

/// The form in which a secret is kept.
#[must_use]
pub fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}
