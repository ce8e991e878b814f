//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::{PgPool, Postgres, Transaction};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wavemark_connector::spec::SettingsSpec;
use wavemark_store::crypt::Keyring;

use crate::auth::limit::Attempts;
use crate::problem::ApiProblem;

/// What every handler can reach; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

impl std::ops::Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The inside of [`AppState`].
pub struct Inner {
    /// The metadata database.
    pub pool: PgPool,
    /// The keys that open stored secrets.
    pub keyring: Keyring,
    /// The systems that endpoints can be of.
    pub specs: Vec<SettingsSpec>,
    /// The address that browsers use.
    pub public_url: Option<String>,
    /// Whether cookies are sent over HTTPS only.
    pub secure_cookies: bool,
    /// Signs access tokens.
    pub jwt_sign: EncodingKey,
    /// Checks access tokens.
    pub jwt_check: DecodingKey,
    /// Goes into digests of requests.
    pub request_key: [u8; 32],
    /// Failed logins.
    pub attempts: Attempts,
    /// How many passwords are hashed at once: each takes 19 MiB.
    pub hashing: tokio::sync::Semaphore,
    /// Changes when pages have something new to show: reports, edits, finished jobs. Wait with
    /// `state.changes.subscribe()`; the number means nothing but "again". Ticks at most once per ~100 ms.
    pub changes: watch::Sender<u64>,
    /// Changes when there may be work for workers.
    pub work: watch::Sender<u64>,
    /// Ends when the server shuts down: streams must end with it.
    pub shutdown: CancellationToken,
    reachable_since: AtomicI64,
}

impl AppState {
    /// A state. `now` is the database's time.
    #[must_use]
    pub fn new(parts: Parts, now: OffsetDateTime) -> Self {
        let secret = parts.jwt_secret.expose_secret().as_bytes();
        Self(Arc::new(Inner {
            jwt_sign: EncodingKey::from_secret(secret),
            jwt_check: DecodingKey::from_secret(secret),
            request_key: Sha256::digest([b"request\0", secret].concat()).into(),
            pool: parts.pool,
            keyring: parts.keyring,
            specs: parts.specs,
            secure_cookies: parts.tls || parts.public_url.as_deref().is_some_and(|url| url.starts_with("https:")),
            public_url: parts.public_url,
            attempts: Attempts::default(),
            hashing: tokio::sync::Semaphore::new(2),
            changes: watch::Sender::new(0),
            work: watch::Sender::new(0),
            shutdown: parts.shutdown,
            reachable_since: AtomicI64::new(micros(now)),
        }))
    }
}

/// What a state is made of.
pub struct Parts {
    /// The metadata database.
    pub pool: PgPool,
    /// The keys.
    pub keyring: Keyring,
    /// The systems.
    pub specs: Vec<SettingsSpec>,
    /// The address that browsers use.
    pub public_url: Option<String>,
    /// What signs access tokens.
    pub jwt_secret: SecretString,
    /// Whether the server itself speaks HTTPS.
    pub tls: bool,
    /// Ends when the server shuts down.
    pub shutdown: CancellationToken,
}

impl Inner {
    /// Begins a transaction.
    ///
    /// # Errors
    /// 503 if the database can't be reached.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, ApiProblem> {
        self.pool.begin().await.map_err(|error| wavemark_store::Error::from(error).into())
    }

    /// The time, for what people read. Leases are judged by the database's clock.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    /// The settings of a system.
    #[must_use]
    pub fn spec(&self, engine: &str) -> Option<&SettingsSpec> {
        self.specs.iter().find(|spec| spec.engine == engine)
    }

    /// Since when, by the database's clock, workers could report here.
    #[must_use]
    pub fn reachable_since(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.reachable_since.load(Ordering::Relaxed)) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Says that workers can report again since a time of the database's clock.
    pub fn set_reachable_since(&self, now: OffsetDateTime) {
        self.reachable_since.store(micros(now), Ordering::Relaxed);
    }

    /// Tells this server's pages that something changed.
    pub fn tick(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(0)
}

/// Commits a transaction.
///
/// # Errors
/// 503 if the database can't be reached; whether it committed is unknown then.
pub async fn commit(transaction: Transaction<'static, Postgres>) -> Result<(), ApiProblem> {
    transaction.commit().await.map_err(|error| wavemark_store::Error::from(error).into())
}
