//! The server role, and what is done to its database.

use std::path::Path;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use wavemark_server::{ServerConfig, TlsFiles};
use wavemark_store::crypt::Keyring;

use crate::cli::{DatabaseOptions, KeyOptions, KeyedDatabaseOptions, ListenOptions, ServerOptions};
use crate::{connectors, shutdown};

/// Runs a server until it is asked to end.
pub(crate) async fn run(options: ServerOptions) -> anyhow::Result<()> {
    if options.migrate {
        wavemark_server::migrate(&options.database.database_url).await.context("migrating the metadata database")?;
    }
    let keyring = keyring(&options.keys)?.context("no keys: set WAVEMARK_KEYS or WAVEMARK_KEYS_FILE")?;
    let config = ServerConfig {
        database_url: options.database.database_url,
        database_connections: options.database_connections,
        jwt_secret: options.jwt_secret,
        worker_token: options.worker_token,
        ..config(options.listen, keyring)?
    };
    wavemark_server::serve(config, shutdown::on_signal()?).await?;
    Ok(())
}

/// A configuration with what listening needs; the rest is the caller's.
pub(super) fn config(listen: ListenOptions, keyring: Keyring) -> anyhow::Result<ServerConfig> {
    let tls = match (&listen.tls_cert, &listen.tls_key) {
        (Some(certificates), Some(key)) => Some(TlsFiles { certificates: read(certificates)?, key: read(key)?.into() }),
        _ => None,
    };
    Ok(ServerConfig {
        listen: listen.listen,
        database_url: SecretString::default(),
        database_connections: 16,
        keyring,
        jwt_secret: None,
        public_url: listen.public_url,
        specs: connectors::all().iter().map(|connector| connector.spec()).collect(),
        worker_token: None,
        admin_password: listen.admin_password,
        tls,
    })
}

/// The keyring from a variable or a file, if one was named.
pub(super) fn keyring(options: &KeyOptions) -> anyhow::Result<Option<Keyring>> {
    let text = match (&options.keys, &options.keys_file) {
        (Some(keys), _) => keys.clone(),
        (None, Some(file)) => read(file)?.into(),
        (None, None) => return Ok(None),
    };
    Ok(Some(Keyring::parse(text.expose_secret()).context("reading the keys")?))
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Brings the metadata database to this version.
pub(crate) async fn migrate(options: DatabaseOptions) -> anyhow::Result<()> {
    wavemark_server::migrate(&options.database_url).await.context("migrating the metadata database")?;
    println!("The metadata database is at version {}.", env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// Seals all secrets again with the newest key.
pub(crate) async fn reseal(options: KeyedDatabaseOptions) -> anyhow::Result<()> {
    let keyring = keyring(&options.keys)?.context("no keys: set WAVEMARK_KEYS or WAVEMARK_KEYS_FILE")?;
    let count = wavemark_server::reseal(&options.database.database_url, &keyring).await?;
    println!("{count} secrets are sealed with the key \"{}\".", keyring.current());
    Ok(())
}
