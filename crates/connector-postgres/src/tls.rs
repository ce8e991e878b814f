//! TLS for the driver: what `wavemark_tls` reads from an endpoint's settings, in the driver's terms.

use rustls::ClientConfig;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
pub use wavemark_tls::{Tls, TlsError, TlsMode, TlsSettings};

/// For `tokio_postgres::Config::ssl_mode`. Must be set: the driver's own default falls back to plain text.
#[must_use]
pub fn ssl_mode(tls: &Tls) -> SslMode {
    match tls.mode() {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    }
}

/// For `tokio_postgres::Config::connect`.
#[must_use]
pub fn connect(tls: &Tls) -> MakeRustlsConnect {
    MakeRustlsConnect::new(ClientConfig::clone(tls.config()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disable_lets_the_driver_speak_in_plain_text() {
        for (mode, expected) in [(TlsMode::Disable, SslMode::Disable), (TlsMode::Require, SslMode::Require)] {
            let tls = Tls::new(&TlsSettings { mode, ..TlsSettings::default() }).unwrap();
            assert_eq!(ssl_mode(&tls), expected);
        }
    }
}
