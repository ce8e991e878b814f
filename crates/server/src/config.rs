//! What the server is told at its start. Nothing here reads the environment: that is the binary's.

use std::net::SocketAddr;

use secrecy::SecretString;
use wavemark_connector::spec::SettingsSpec;
use wavemark_store::crypt::Keyring;

/// What the server is told at its start.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The metadata database, `postgres://…`.
    pub database_url: SecretString,
    /// Connections to it.
    pub database_connections: u32,
    /// The keys that open the stored secrets.
    pub keyring: Keyring,
    /// What signs access tokens; without it, one is made and kept sealed in the database.
    pub jwt_secret: Option<SecretString>,
    /// The address that browsers use, e.g. `https://wavemark.example.org`; `https` makes cookies Secure.
    pub public_url: Option<String>,
    /// The systems that endpoints can be of.
    pub specs: Vec<SettingsSpec>,
    /// A worker token that holds from the start.
    pub worker_token: Option<SecretString>,
    /// The password of the user `admin`, made if there is no user yet.
    pub admin_password: Option<SecretString>,
    /// Certificate chain and key in PEM; with them the server speaks HTTPS only.
    pub tls: Option<TlsFiles>,
}

/// Certificate chain and key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificates: String,
    /// The key.
    pub key: SecretString,
}
