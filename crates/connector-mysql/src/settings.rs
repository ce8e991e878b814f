//! The settings of a MySQL or MariaDB endpoint: an allow-list, parsed once into types.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use wavemark_connector::spec::{FieldKind, FieldSpec, Role, connect_timeout, encryption, load_rate, max_connections};
use wavemark_connector::{EndpointSettings, SettingsSpec};
use wavemark_domain::{Fault, Problem};
use wavemark_tls::{TlsMode, TlsSettings};

/// The system's name in the API and in the names of encodings: both systems speak one protocol, and which one a server
/// is it says itself.
pub(crate) const ENGINE: &str = "mysql";

/// One endpoint, ready to be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The endpoint's name, for messages.
    pub(crate) endpoint: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<SecretString>,
    pub(crate) tls: TlsSettings,
    /// How long one step of connecting may take.
    pub(crate) connect_timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    host: String,
    #[serde(default = "default_port")]
    port: u16,
    user: String,
    tls_mode: Option<TlsMode>,
    tls_ca: Option<String>,
    tls_client_certificate: Option<String>,
    connect_timeout_seconds: Option<u64>,
    /// The worker's to keep to.
    #[expect(dead_code, reason = "read by the worker, which shares it between tasks")]
    load_mib_per_second: Option<u64>,
    /// The same.
    #[expect(dead_code, reason = "read by the worker, which shares it between tasks")]
    max_connections: Option<u64>,
}

fn default_port() -> u16 {
    3306
}

impl Settings {
    /// Reads an endpoint's settings; a *settings* problem names what does not fit. Texts of secrets are never repeated.
    pub(crate) fn parse(endpoint: &EndpointSettings) -> Result<Self, Problem> {
        let refused = |text: String| {
            let text = format!("The settings of endpoint {} can't be used: {text}.", endpoint.name);
            Problem::new(Fault::Settings, "endpoint-settings", text)
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
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What an endpoint of this system has.
pub(crate) fn spec() -> SettingsSpec {
    SettingsSpec { engine: ENGINE, title: "MySQL or MariaDB", role: Role::Both, fields: fields(), positions: None }
}

fn fields() -> Vec<FieldSpec> {
    let reached = [
        FieldSpec::required("host", "Host", FieldKind::Text, "Name or address of the server, as a worker reaches it."),
        FieldSpec::optional(
            "port",
            "Port",
            FieldKind::Integer { min: 1, max: 65_535 },
            Some("3306"),
            "TCP port of the server.",
        ),
        FieldSpec::required(
            "user",
            "User",
            FieldKind::Text,
            "The user that logs in; the test says which rights it lacks.",
        ),
        FieldSpec::secret(
            "password",
            "Password",
            FieldKind::Text,
            "The user's password; not needed if the account has none.",
        ),
    ];
    let used = [load_rate(), max_connections(crate::source::NEEDS.least().max(crate::target::NEEDS.least()))];
    reached.into_iter().chain(encryption()).chain([connect_timeout()]).chain(used).collect()
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
        let settings = Settings::parse(&endpoint(json!({"host": "db", "user": "wavemark"}))).unwrap();
        assert_eq!(settings.address(), "db:3306");
        assert_eq!(settings.tls.mode, TlsMode::VerifyFull);
        assert!(settings.password.is_some());
    }

    #[test]
    fn a_setting_that_does_not_fit_is_named() {
        let problem = Settings::parse(&endpoint(json!({"host": "db", "user": "u", "database": "x"}))).unwrap_err();
        assert_eq!(problem.fault, Fault::Settings);
        assert!(problem.text.contains("database"), "{problem}");
    }

    #[test]
    fn each_setting_has_a_sentence_of_doc() {
        for field in spec().fields {
            assert!(field.doc.ends_with('.') && field.doc.len() > 20, "{}", field.name);
        }
    }
}
