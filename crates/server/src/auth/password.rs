//! Passwords: argon2id with the parameters that OWASP names (19 MiB, two passes), off the async threads.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};

use crate::problem::ApiProblem;
use crate::state::AppState;

/// What takes as long to check as a real hash and fits no password: a login of an unknown name takes as long as
/// that of a known one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Refuses a password that is too short or absurdly long.
///
/// # Errors
/// 422.
pub fn acceptable(password: &SecretString) -> Result<(), ApiProblem> {
    let length = password.expose_secret().chars().count();
    if (10..=1_000).contains(&length) {
        return Ok(());
    }
    Err(ApiProblem::field("password", "A password has 10 to 1000 characters."))
}

/// Hashes a password.
///
/// # Errors
/// 500 if the hasher fails.
pub async fn hash(state: &AppState, password: SecretString) -> Result<String, ApiProblem> {
    let _permit = state.hashing.acquire().await.map_err(|_| failed())?;
    tokio::task::spawn_blocking(move || {
        let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
        hash.map(|hash| hash.to_string())
    })
    .await
    .map_err(|_| failed())?
    .map_err(|_| failed())
}

/// Whether a password fits a hash; without a hash, takes as long and says no.
///
/// # Errors
/// 500 if the hasher fails.
pub async fn fits(state: &AppState, password: SecretString, hash: Option<String>) -> Result<bool, ApiProblem> {
    let _permit = state.hashing.acquire().await.map_err(|_| failed())?;
    tokio::task::spawn_blocking(move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let fits = PasswordHash::new(&hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok());
        fits && known
    })
    .await
    .map_err(|_| failed())
}

fn failed() -> ApiProblem {
    ApiProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The password could not be checked.")
}
