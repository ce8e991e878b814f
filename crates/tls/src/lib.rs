//! TLS towards a database: one set of settings, one rustls configuration for every client of a connector.
//!
//! The modes are libpq's (manual: "SSL Support", libpq-ssl), with two differences that make them stricter to read:
//! there is no mode that falls back to an unencrypted connection, and a certificate authority that is given beside
//! `require` is not used, because the mode alone says what is checked.

mod stream;
mod verifier;

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio_rustls::TlsConnector;

pub use stream::MaybeTls;
use verifier::{Chain, Encrypted};

/// What is demanded of the connection and of the server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No encryption.
    #[default]
    Disable,
    /// Encryption, with whoever answers.
    Require,
    /// Encryption, with a server whose certificate comes from the given authority.
    VerifyCa,
    /// The same, and the certificate is for the host that was asked for.
    VerifyFull,
}

/// The settings of an endpoint that concern TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// What is demanded.
    pub mode: TlsMode,
    /// The authorities that are trusted, or the server's own self-signed certificate, as PEM. Needed by the modes
    /// that verify: the machine's own list of public authorities is never used.
    pub ca: Option<String>,
    /// The client's certificate and those between it and its authority, as PEM.
    pub client_certificate: Option<String>,
    /// The client certificate's private key, as PEM (PKCS#8, PKCS#1 or SEC1, not encrypted).
    pub client_key: Option<SecretString>,
}

/// Settings that can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A mode that verifies has nothing to verify against.
    #[error("this TLS mode verifies the server's certificate, so it needs the certificate of its authority (CA)")]
    NoAuthority,
    /// A certificate without a key, or a key without a certificate.
    #[error("a client certificate and its private key must be given together")]
    HalfIdentity,
    /// The text is no PEM, or has nothing of the kind in it. The text itself is not repeated: it may be a key.
    #[error("the {what} is not valid PEM or holds none")]
    Pem {
        /// Which setting.
        what: &'static str,
    },
    /// The certificate or key was read but can't be used.
    #[error("the {what} cannot be used")]
    Unusable {
        /// Which setting.
        what: &'static str,
        /// Why.
        source: rustls::Error,
    },
}

/// Ready-made TLS for both clients.
#[derive(Clone, Debug)]
pub struct Tls {
    mode: TlsMode,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// When a certificate or key is missing or unreadable; see [`TlsError`].
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(settings, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable { what: "list of protocol versions", source })?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match identity(settings)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| TlsError::Unusable { what: "client certificate or key", source })?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self { mode: settings.mode, config: Arc::new(config) })
    }

    /// What is demanded.
    #[must_use]
    pub fn mode(&self) -> TlsMode {
        self.mode
    }

    /// For a client that takes rustls' own configuration.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// For our own clients; `None` when the connection is not to be encrypted.
    #[must_use]
    pub fn connector(&self) -> Option<TlsConnector> {
        (self.mode != TlsMode::Disable).then(|| TlsConnector::from(Arc::clone(&self.config)))
    }
}

fn verifier(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let check_name = match settings.mode {
        TlsMode::Disable | TlsMode::Require => return Ok(Arc::new(Encrypted::new(provider))),
        TlsMode::VerifyCa => false,
        TlsMode::VerifyFull => true,
    };
    let ca = settings.ca.as_deref().filter(|ca| !ca.trim().is_empty()).ok_or(TlsError::NoAuthority)?;
    let authorities = certificates(ca, "CA certificate")?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        roots.add(authority.clone()).map_err(|source| TlsError::Unusable { what: "CA certificate", source })?;
    }
    Ok(Arc::new(Chain::new(roots, authorities, check_name, provider)))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(settings: &TlsSettings) -> Result<Option<Identity>, TlsError> {
    match (&settings.client_certificate, &settings.client_key) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => {
            let chain = certificates(chain, "client certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
                .map_err(|_| TlsError::Pem { what: "client key" })?;
            Ok(Some((chain, key)))
        }
        _ => Err(TlsError::HalfIdentity),
    }
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Pem { what })?;
    if found.is_empty() { Err(TlsError::Pem { what }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: TlsMode, ca: Option<&str>) -> TlsSettings {
        TlsSettings { mode, ca: ca.map(str::to_owned), ..TlsSettings::default() }
    }

    #[test]
    fn the_modes_that_verify_need_an_authority() {
        for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
            for ca in [None, Some(" \n")] {
                assert!(matches!(Tls::new(&settings(mode, ca)), Err(TlsError::NoAuthority)));
            }
        }
    }

    #[test]
    fn what_is_not_pem_is_refused_without_repeating_it() {
        let error = Tls::new(&settings(TlsMode::VerifyFull, Some("hunter2"))).unwrap_err();
        assert_eq!(error.to_string(), "the CA certificate is not valid PEM or holds none");
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let half = TlsSettings { client_certificate: Some("x".to_owned()), ..settings(TlsMode::Require, None) };
        assert!(matches!(Tls::new(&half), Err(TlsError::HalfIdentity)));
    }

    #[test]
    fn only_disable_connects_in_plain_text() {
        assert!(Tls::new(&settings(TlsMode::Disable, None)).unwrap().connector().is_none());
        let required = Tls::new(&settings(TlsMode::Require, None)).unwrap();
        assert!(required.connector().is_some());
    }
}
