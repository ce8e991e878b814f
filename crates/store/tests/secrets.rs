//! Sealed secrets in a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a failure in a helper is the failure of its test")]

mod support;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use uuid::Uuid;
use wavemark_domain::EndpointId;
use wavemark_store::crypt::Keyring;
use wavemark_store::endpoints::{self, EndpointRole};
use wavemark_store::{Error, instance};

const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

#[tokio::test]
async fn secrets_are_sealed_with_the_key_id_and_resealed_with_the_current_key() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let id = EndpointId(Uuid::now_v7());
    endpoints::create(&mut connection, id, "shop", "postgresql", EndpointRole::Both, &json!({})).await.unwrap();
    let old = Keyring::parse(OLD).unwrap();
    let secret = SecretString::from("correct horse");
    endpoints::set_secret(&mut connection, &old, id, "password", Some(&secret)).await.unwrap();
    instance::secret(&mut connection, &old, "jwt", &"signing".into()).await.unwrap();

    let stored: (String, Vec<u8>) =
        sqlx::query_as("select key_id, sealed from endpoint_secrets").fetch_one(&pool).await.unwrap();
    assert_eq!(stored.0, "old");
    assert!(!stored.1.windows(7).any(|window| window == b"correct"));

    let both = Keyring::parse(&format!("{NEW}\n{OLD}")).unwrap();
    assert_eq!(endpoints::reseal(&mut connection, &both).await.unwrap(), 1);
    assert_eq!(endpoints::reseal(&mut connection, &both).await.unwrap(), 0);
    assert_eq!(instance::reseal(&mut connection, &both).await.unwrap(), 1);

    let new = Keyring::parse(NEW).unwrap();
    let opened = endpoints::secrets(&mut connection, &new, id).await.unwrap();
    assert_eq!(opened["password"].expose_secret(), "correct horse");
    let kept = instance::secret(&mut connection, &new, "jwt", &"another".into()).await.unwrap();
    assert_eq!(kept.expose_secret(), "signing");
    let refused = endpoints::secrets(&mut connection, &old, id).await.unwrap_err();
    assert!(matches!(refused, Error::KeyMissing { key_id } if key_id == "new"));
}

#[tokio::test]
async fn a_sealed_secret_copied_to_another_endpoint_does_not_open() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let keys = Keyring::parse(OLD).unwrap();
    let (mine, theirs) = (EndpointId(Uuid::now_v7()), EndpointId(Uuid::now_v7()));
    for (id, name) in [(mine, "mine"), (theirs, "theirs")] {
        endpoints::create(&mut connection, id, name, "postgresql", EndpointRole::Both, &json!({})).await.unwrap();
    }
    endpoints::set_secret(&mut connection, &keys, theirs, "password", Some(&"x".into())).await.unwrap();
    sqlx::query("update endpoint_secrets set endpoint_id = $1").bind(mine.0).execute(&pool).await.unwrap();
    let refused = endpoints::secrets(&mut connection, &keys, mine).await.unwrap_err();
    assert!(matches!(refused, Error::Sealed { .. }), "{refused}");
}
