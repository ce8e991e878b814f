//! Access tokens: HS256 and nothing else, our issuer, our audience, ten minutes.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// How long an access token holds, in seconds.
pub const LASTS: i64 = 600;
const ISSUER: &str = "wavemark";
const AUDIENCE: &str = "wavemark-api";

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    /// The user.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

/// Signs an access token for a session.
///
/// # Errors
/// The key can't sign.
pub fn sign(
    key: &EncodingKey,
    user: Uuid,
    session: Uuid,
    now: OffsetDateTime,
) -> Result<String, jsonwebtoken::errors::Error> {
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: user,
        sid: session,
        jti: Uuid::new_v4(),
        iat: now.unix_timestamp(),
        exp: now.unix_timestamp() + LASTS,
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, key)
}

/// What a token says, if it is ours and holds.
#[must_use]
pub fn check(key: &DecodingKey, token: &str) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.leeway = 5;
    jsonwebtoken::decode::<Claims>(token, key, &validation).ok().map(|token| token.claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (EncodingKey, DecodingKey) {
        (EncodingKey::from_secret(b"one secret"), DecodingKey::from_secret(b"one secret"))
    }

    #[test]
    fn a_token_holds_for_ten_minutes() {
        let (sign_key, check_key) = keys();
        let (user, session) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let now = OffsetDateTime::now_utc();
        let token = sign(&sign_key, user, session, now).unwrap();
        assert_eq!(check(&check_key, &token).unwrap().sid, session);
        let old = sign(&sign_key, user, session, now - time::Duration::seconds(LASTS + 6)).unwrap();
        assert!(check(&check_key, &old).is_none());
    }

    #[test]
    fn another_key_algorithm_or_audience_is_refused() {
        let (sign_key, check_key) = keys();
        let now = OffsetDateTime::now_utc();
        let other = EncodingKey::from_secret(b"another");
        assert!(check(&check_key, &sign(&other, Uuid::nil(), Uuid::nil(), now).unwrap()).is_none());
        let claims = |aud: &str| {
            serde_json::json!({"iss": "wavemark", "aud": aud, "sub": Uuid::nil(), "sid": Uuid::nil(),
            "jti": Uuid::nil(), "iat": now.unix_timestamp(), "exp": now.unix_timestamp() + 60})
        };
        let with = |algorithm, aud| jsonwebtoken::encode(&Header::new(algorithm), &claims(aud), &sign_key).unwrap();
        assert!(check(&check_key, &with(Algorithm::HS256, "wavemark-api")).is_some());
        assert!(check(&check_key, &with(Algorithm::HS512, "wavemark-api")).is_none());
        assert!(check(&check_key, &with(Algorithm::HS256, "elsewhere")).is_none());
        let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ3YXZlbWFyayJ9.";
        assert!(check(&check_key, unsigned).is_none());
    }
}
