//! Starting, listening, stopping.
//!
//! 1. Migrate is not done here: a server on a database of another version says so and ends.
//! 2. The signing secret, the first user or the first run's code, and the worker token are made sure of.
//! 3. Background upkeep and listening for announcements start; then connections are taken.
//! 4. On the shutdown token: streams and long polls end, requests under way finish, upkeep stops.

use std::cmp::Ordering;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wavemark_domain::ids::TokenId;
use wavemark_store::{PgPool, instance, sessions, tokens, users};

use crate::auth::{login, password, secret};
use crate::config::ServerConfig;
use crate::problem::ApiProblem;
use crate::state::{AppState, Parts};
use crate::{api, background, connections, health, metrics, pace, web, workers};

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The metadata database.
    #[error(transparent)]
    Store(#[from] wavemark_store::Error),
    /// The database is of an older version.
    #[error("the metadata database is of an older version than this program: run `wavemark migrate`")]
    NotMigrated,
    /// The address.
    #[error("listening on {address} failed: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key.
    #[error("the TLS certificate or key can't be used: {0}")]
    Tls(String),
    /// The first admin.
    #[error("the first admin can't be made: {0}")]
    FirstRun(String),
}

/// A server that takes connections.
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    /// The code of the first run, if there is no user yet: print it once, log it never.
    pub first_run_code: Option<SecretString>,
    /// What its handlers share.
    pub state: AppState,
    finished: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Waits until it has stopped.
    pub async fn finished(self) {
        if let Err(error) = self.finished.await {
            tracing::error!(error = %error, "the server ended by a panic");
        }
    }
}

/// Runs a server until the token is cancelled.
///
/// # Errors
/// It can't start.
pub async fn serve(config: ServerConfig, shutdown: CancellationToken) -> Result<(), StartError> {
    let running = start(config, shutdown).await?;
    if let Some(code) = &running.first_run_code {
        // The one place where a secret is written out: to the terminal of the person who starts the server.
        eprintln!("There is no user yet. Set the first password with the one-time code {}", code.expose_secret());
    }
    running.finished().await;
    Ok(())
}

/// Starts a server; it takes connections when this returns.
///
/// # Errors
/// It can't start.
pub async fn start(config: ServerConfig, shutdown: CancellationToken) -> Result<Running, StartError> {
    let pool = wavemark_store::pool(config.database_url.expose_secret(), config.database_connections)?;
    match wavemark_store::version(&pool).await? {
        Ordering::Less => return Err(StartError::NotMigrated),
        Ordering::Equal => {}
        Ordering::Greater => return Err(wavemark_store::Error::Newer.into()),
    }
    let acceptor = config.tls.as_ref().map(connections::acceptor).transpose()?;
    let state = make_state(&config, pool, shutdown.clone()).await?;
    let first_run_code = first_run(&state, config.admin_password.as_ref()).await?;
    if let Some(token) = &config.worker_token {
        let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
        let digest = secret::digest(token.expose_secret());
        tokens::create_worker(&mut connection, TokenId(Uuid::now_v7()), "given at start", &digest).await?;
    }
    let failed = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let tracker = TaskTracker::new();
    background::start(&state, &tracker);
    tracker.close();
    let app = router(&state);
    let finished = tokio::spawn(async move {
        let serving = connections::serve(listener, acceptor, app, shutdown.clone());
        // A connection that never ends must not keep the process.
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        };
        tokio::select! {
            () = serving => {}
            () = deadline => tracing::warn!("requests were still under way after 10 s; leaving"),
        }
        tracker.wait().await;
    });
    tracing::info!(address = %address, "the server takes connections");
    Ok(Running { address, first_run_code, state, finished })
}

async fn make_state(config: &ServerConfig, pool: PgPool, shutdown: CancellationToken) -> Result<AppState, StartError> {
    let mut connection = pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let jwt_secret = if let Some(secret) = &config.jwt_secret {
        secret.clone()
    } else {
        let offered = SecretString::from(secret::make(""));
        instance::secret(&mut connection, &config.keyring, "jwt", &offered).await?
    };
    let now = sessions::now(&mut connection).await?;
    drop(connection);
    let parts = Parts {
        pool,
        keyring: config.keyring.clone(),
        specs: config.specs.clone(),
        public_url: config.public_url.clone(),
        jwt_secret,
        tls: config.tls.is_some(),
        shutdown,
    };
    Ok(AppState::new(parts, now))
}

async fn first_run(state: &AppState, given: Option<&SecretString>) -> Result<Option<SecretString>, StartError> {
    let refused = |problem: ApiProblem| StartError::FirstRun(problem.detail().to_owned());
    let mut transaction = state.begin().await.map_err(refused)?;
    instance::lock_first_run(&mut transaction).await?;
    if users::count(&mut transaction).await? > 0 {
        return Ok(None);
    }
    let code = if let Some(given) = given {
        password::acceptable(given).map_err(refused)?;
        let hash = password::hash(state, given.clone()).await.map_err(refused)?;
        login::make_admin(&mut transaction, "admin", &hash, None).await.map_err(refused)?;
        None
    } else {
        let code = secret::make_code();
        instance::set_first_run(&mut transaction, &secret::digest(&code)).await?;
        Some(SecretString::from(code))
    };
    crate::state::commit(transaction).await.map_err(refused)?;
    Ok(code)
}

/// Every route, with what is around all of them.
fn router(state: &AppState) -> Router {
    use axum::http::{HeaderName, HeaderValue};
    use tower_http::set_header::SetResponseHeaderLayer;
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let hsts = state.secure_cookies.then(|| header("strict-transport-security", "max-age=31536000"));
    Router::new()
        .merge(api::router())
        // A discovery of very many tables is large.
        .merge(workers::router().layer(DefaultBodyLimit::max(32 << 20)))
        .merge(health::router())
        .merge(metrics::router())
        .merge(web::router(state))
        .layer(DefaultBodyLimit::max(8 << 20))
        .layer(axum::middleware::from_fn(pace::refuse_slow))
        .layer(axum::middleware::from_fn_with_state(state.clone(), crate::auth::cross_site::refuse))
        .layer(tower_http::compression::CompressionLayer::new())
        .layer(header("content-security-policy", CSP))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("x-frame-options", "DENY"))
        .layer(header("referrer-policy", "same-origin"))
        .layer(tower::util::option_layer(hsts))
        .with_state(state.clone())
}

/// Nothing from elsewhere, no inline script, no inline style: charts set their sizes by script, which is allowed.
const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                   object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);
