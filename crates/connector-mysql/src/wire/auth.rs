//! What is sent in place of a password (manual: "Authentication Plugins").

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::WireError;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// `mysql_native_password`: SHA-1, of MariaDB and old versions.
    Native,
    /// `caching_sha2_password`, of MySQL from 8.0 on.
    CachingSha2,
    /// `client_ed25519`, of MariaDB.
    Ed25519,
    /// `mysql_clear_password`: the password itself, for tokens of a cloud.
    Clear,
}

impl Method {
    pub(crate) fn named(name: &[u8]) -> Result<Self, WireError> {
        match name {
            b"mysql_native_password" => Ok(Self::Native),
            b"caching_sha2_password" => Ok(Self::CachingSha2),
            b"client_ed25519" => Ok(Self::Ed25519),
            b"mysql_clear_password" => Ok(Self::Clear),
            other => Err(WireError::UnknownLogin(String::from_utf8_lossy(other).into_owned())),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Ed25519 => "client_ed25519",
            Self::Clear => "mysql_clear_password",
        }
    }

    /// What is sent for the server's `nonce`. A password itself goes only where nobody else reads it: `may_show`.
    pub(crate) fn proof(self, password: &[u8], nonce: &[u8], may_show: bool) -> Result<Vec<u8>, WireError> {
        Ok(match self {
            Self::Native | Self::CachingSha2 if password.is_empty() => Vec::new(),
            Self::Native => {
                let once = Sha1::digest(password);
                let stored = Sha1::digest(once);
                mixed(&once, &Sha1::new().chain_update(nonce).chain_update(stored).finalize())
            }
            Self::CachingSha2 => {
                let once = Sha256::digest(password);
                let stored = Sha256::digest(once);
                mixed(&once, &Sha256::new().chain_update(stored).chain_update(nonce).finalize())
            }
            Self::Ed25519 => signature(password, nonce),
            Self::Clear if may_show => [password, &[0]].concat(),
            Self::Clear => return Err(WireError::PasswordToAnybody),
        })
    }
}

fn mixed(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// Ed25519 as MariaDB has it: the password takes the place of the secret's 32 bytes, of whatever length it is.
fn signature(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let secret: [u8; 64] = Sha512::digest(password).into();
    let (half, prefix) = secret.split_at(32);
    let mut low = [0; 32];
    low.copy_from_slice(half);
    let scalar = Scalar::from_bytes_mod_order(clamp_integer(low));
    let public = EdwardsPoint::mul_base(&scalar).compress();
    let wide = |hash: Sha512| Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let random = wide(Sha512::new().chain_update(prefix).chain_update(nonce));
    let point = EdwardsPoint::mul_base(&random).compress();
    let challenge =
        wide(Sha512::new().chain_update(point.as_bytes()).chain_update(public.as_bytes()).chain_update(nonce));
    [point.to_bytes(), (challenge * scalar + random).to_bytes()].concat()
}
