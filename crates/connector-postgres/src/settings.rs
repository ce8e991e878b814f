//! The settings of a PostgreSQL endpoint: an allow-list, parsed once into types.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use wavemark_connector::spec::{FieldKind, FieldSpec, Role};
use wavemark_connector::{EndpointSettings, SettingsSpec};
use wavemark_domain::{Fault, Problem};

use crate::tls::{TlsMode, TlsSettings};

/// The system's name in the API and in the names of encodings.
pub const ENGINE: &str = "postgresql";

/// One endpoint, ready to be connected to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The endpoint's name, for messages.
    pub endpoint: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role that logs in.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<SecretString>,
    /// What is demanded of the connection.
    pub tls: TlsSettings,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    host: String,
    #[serde(default = "default_port")]
    port: u16,
    database: String,
    user: String,
    tls_mode: Option<TlsMode>,
    tls_ca: Option<String>,
    tls_client_certificate: Option<String>,
    connect_timeout_seconds: Option<u64>,
}

fn default_port() -> u16 {
    5432
}

impl Settings {
    /// Reads an endpoint's settings.
    ///
    /// # Errors
    /// A *settings* problem that names what does not fit. Texts of secrets are never repeated.
    pub fn parse(endpoint: &EndpointSettings) -> Result<Self, Problem> {
        let refused = |text: String| {
            Problem::new(
                Fault::Settings,
                "endpoint-settings",
                format!("The settings of endpoint {} can't be used: {text}.", endpoint.name),
            )
        };
        spec()
            .validate(&endpoint.values, endpoint.secrets.keys().map(String::as_str))
            .map_err(|error| refused(error.to_string()))?;
        let values: Values =
            serde_json::from_value(endpoint.values.clone()).map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            endpoint: endpoint.name.clone(),
            host: values.host,
            port: values.port,
            database: values.database,
            user: values.user,
            password: endpoint.secrets.get("password").cloned(),
            tls: TlsSettings {
                mode: values.tls_mode.unwrap_or(TlsMode::VerifyFull),
                ca: values.tls_ca,
                client_certificate: values.tls_client_certificate,
                client_key: endpoint.secrets.get("tls_client_key").cloned(),
            },
            connect_timeout: Duration::from_secs(values.connect_timeout_seconds.unwrap_or(10)),
        })
    }

    /// `host:port`, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What an endpoint of this system has.
///
/// `verify-full` is the default: everything weaker lets whoever sits on the way read and change the rows, and a
/// default is what most endpoints run with. A server without TLS is an explicit `disable`.
#[must_use]
pub fn spec() -> SettingsSpec {
    SettingsSpec { engine: ENGINE, title: "PostgreSQL", role: Role::Both, fields: fields() }
}

fn fields() -> Vec<FieldSpec> {
    vec![
        required("host", "Host", FieldKind::Text, "Name or address of the server, as a worker reaches it."),
        optional(
            "port",
            "Port",
            FieldKind::Integer { min: 1, max: 65_535 },
            Some("5432"),
            "TCP port of the server; a connection pooler such as PgBouncer can't be used.",
        ),
        required("database", "Database", FieldKind::Text, "The database that holds the tables."),
        required("user", "User", FieldKind::Text, "The role that logs in; the test says which rights it lacks."),
        secret("password", "Password", FieldKind::Text, "The role's password; not needed with a client certificate."),
        optional(
            "tls_mode",
            "TLS",
            FieldKind::Choice { words: &["disable", "require", "verify-ca", "verify-full"] },
            Some("verify-full"),
            "disable: plain text; require: encrypted, with whoever answers; verify-ca: the server's certificate comes \
             from the CA; verify-full: and it is for this host.",
        ),
        optional(
            "tls_ca",
            "CA certificate",
            FieldKind::Pem,
            None,
            "Certificates of the authorities that the server's certificate must come from; needed by verify-ca and \
             verify-full.",
        ),
        optional(
            "tls_client_certificate",
            "Client certificate",
            FieldKind::Pem,
            None,
            "Shown to a server that asks for one; given together with its key.",
        ),
        secret("tls_client_key", "Client key", FieldKind::Pem, "The client certificate's private key, not encrypted."),
        optional(
            "connect_timeout_seconds",
            "Connect timeout",
            FieldKind::Integer { min: 1, max: 300 },
            Some("10"),
            "How many seconds one attempt to connect may take.",
        ),
    ]
}

fn required(name: &'static str, label: &'static str, kind: FieldKind, doc: &'static str) -> FieldSpec {
    FieldSpec { name, label, kind, required: true, secret: false, default: None, doc }
}

fn optional(
    name: &'static str,
    label: &'static str,
    kind: FieldKind,
    default: Option<&'static str>,
    doc: &'static str,
) -> FieldSpec {
    FieldSpec { name, label, kind, required: false, secret: false, default, doc }
}

fn secret(name: &'static str, label: &'static str, kind: FieldKind, doc: &'static str) -> FieldSpec {
    FieldSpec { name, label, kind, required: false, secret: true, default: None, doc }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn endpoint(values: serde_json::Value) -> EndpointSettings {
        let secrets = BTreeMap::from([("password".to_owned(), SecretString::from("hunter2"))]);
        EndpointSettings { name: "shop".to_owned(), values, secrets }
    }

    #[test]
    fn what_is_left_out_takes_the_safe_default() {
        let settings =
            Settings::parse(&endpoint(json!({"host": "db", "database": "shop", "user": "wavemark"}))).unwrap();
        assert_eq!(settings.address(), "db:5432");
        assert_eq!(settings.tls.mode, TlsMode::VerifyFull);
        assert_eq!(settings.connect_timeout, Duration::from_secs(10));
        assert!(settings.password.is_some());
    }

    #[test]
    fn a_setting_that_does_not_fit_is_named() {
        let problem = Settings::parse(&endpoint(json!({"host": "db", "database": "d", "user": "u", "options": "x"})))
            .unwrap_err();
        assert_eq!(problem.fault, Fault::Settings);
        assert!(problem.text.contains("options"), "{problem}");
    }

    #[test]
    fn each_setting_has_a_sentence_of_doc() {
        for field in spec().fields {
            assert!(field.doc.ends_with('.') && field.doc.len() > 20, "{}", field.name);
        }
    }
}
