//! The settings of a PostgreSQL endpoint: an allow-list, parsed once into types.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use wavemark_connector::spec::{
    FieldKind, FieldSpec, PositionSpec, Role, connect_timeout, encryption, load_rate, max_connections,
};
use wavemark_connector::{EndpointSettings, SettingsSpec};
use wavemark_domain::{Fault, Problem};

use crate::position;
use crate::source::check_start;
use crate::tls::{TlsMode, TlsSettings};
use crate::wire::Lsn;

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
    /// As a source: how long its log may be silent, also when it is asked for an answer.
    pub silence_limit: Duration,
    /// As a target: what must have a bookmark before the source is told of it.
    pub confirm_after: ConfirmAfter,
}

/// What must have a target's commit before the source may forget what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmAfter {
    /// The target's own disk.
    LocalFlush,
    /// As many standbys as the server's `synchronous_standby_names` says: COMMIT waits for them.
    SynchronousStandby,
    /// The disks of all standbys of these application names; only the confirmation waits for them.
    NamedStandbys(Vec<String>),
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum After {
    LocalFlush,
    SynchronousStandby,
    NamedStandbys,
}

impl ConfirmAfter {
    fn parse(after: Option<After>, names: Option<&str>) -> Result<Self, String> {
        let names: Vec<String> = names
            .unwrap_or_default()
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        match after.unwrap_or(After::LocalFlush) {
            After::NamedStandbys if names.is_empty() => {
                Err("confirm_after is named-standbys, and confirm_standbys names none".to_owned())
            }
            After::NamedStandbys => Ok(Self::NamedStandbys(names)),
            _ if !names.is_empty() => Err("confirm_standbys is only for a confirm_after of named-standbys".to_owned()),
            After::LocalFlush => Ok(Self::LocalFlush),
            After::SynchronousStandby => Ok(Self::SynchronousStandby),
        }
    }
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
    silence_limit_seconds: Option<u64>,
    confirm_after: Option<After>,
    confirm_standbys: Option<String>,
    /// The worker's to keep to.
    #[expect(dead_code, reason = "read by the worker, which shares it between tasks")]
    load_mib_per_second: Option<u64>,
    /// The same.
    #[expect(dead_code, reason = "read by the worker, which shares it between tasks")]
    max_connections: Option<u64>,
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
        let confirm_after =
            ConfirmAfter::parse(values.confirm_after, values.confirm_standbys.as_deref()).map_err(refused)?;
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
            silence_limit: Duration::from_secs(values.silence_limit_seconds.unwrap_or(60)),
            confirm_after,
        })
    }

    /// Whether the same role reaches the same database in the same way.
    pub(crate) fn reaches_as(&self, other: &Self) -> bool {
        fn told(secret: Option<&SecretString>) -> Option<&str> {
            secret.map(ExposeSecret::expose_secret)
        }
        let place = |of: &Self| (of.host.clone(), of.port, of.database.clone(), of.user.clone(), of.connect_timeout);
        let tls = |of: &Self| (of.tls.mode, of.tls.ca.clone(), of.tls.client_certificate.clone());
        place(self) == place(other)
            && tls(self) == tls(other)
            && told(self.password.as_ref()) == told(other.password.as_ref())
            && told(self.tls.client_key.as_ref()) == told(other.tls.client_key.as_ref())
    }

    /// `host:port`, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What an endpoint of this system has.
#[must_use]
pub fn spec() -> SettingsSpec {
    let positions = PositionSpec { form: position::FORM, is_one: |text| text.parse::<Lsn>().is_ok(), check_start };
    SettingsSpec { engine: ENGINE, title: "PostgreSQL", role: Role::Both, fields: fields(), positions: Some(positions) }
}

fn fields() -> Vec<FieldSpec> {
    let reached = [
        FieldSpec::required("host", "Host", FieldKind::Text, "Name or address of the server, as a worker reaches it."),
        FieldSpec::optional(
            "port",
            "Port",
            FieldKind::Integer { min: 1, max: 65_535 },
            Some("5432"),
            "TCP port of the server; a connection pooler such as PgBouncer can't be used.",
        ),
        FieldSpec::required("database", "Database", FieldKind::Text, "The database that holds the tables."),
        FieldSpec::required(
            "user",
            "User",
            FieldKind::Text,
            "The role that logs in; the test says which rights it lacks.",
        ),
        FieldSpec::secret(
            "password",
            "Password",
            FieldKind::Text,
            "The role's password; not needed with a client certificate.",
        ),
    ];
    let used = [
        FieldSpec::optional(
            "silence_limit_seconds",
            "Silence limit",
            FieldKind::Integer { min: 2, max: 3_600 },
            Some("60"),
            "As a source, how many seconds its log may be silent; it is asked for an answer at half of that, and \
             connected to anew when none came.",
        ),
        FieldSpec::optional(
            "confirm_after",
            "Confirm after",
            FieldKind::Choice { words: &["local-flush", "synchronous-standby", "named-standbys"] },
            Some("local-flush"),
            "As a target, what must have a change before the source may forget it: this server's disk; a synchronous \
             standby, which each commit waits for; or the disks of the standbys named below, without waiting.",
        ),
        FieldSpec::optional(
            "confirm_standbys",
            "Standbys",
            FieldKind::Text,
            None,
            "For named-standbys: the application names of the standbys, separated by commas, as pg_stat_replication \
             of this server shows them.",
        ),
        load_rate(),
        // A source needs more than a target.
        max_connections(crate::source::NEEDS.least()),
    ];
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
    fn what_must_be_confirmed_after_is_read_with_its_names() {
        let parse = |after: &str, names: Option<&str>| {
            let mut values = json!({"host": "db", "database": "d", "user": "u", "confirm_after": after});
            if let Some(names) = names {
                values["confirm_standbys"] = names.into();
            }
            Settings::parse(&endpoint(values)).map(|settings| settings.confirm_after)
        };
        let two = ConfirmAfter::NamedStandbys(vec!["berlin".to_owned(), "oslo 2".to_owned()]);
        assert_eq!(parse("named-standbys", Some(" berlin, oslo 2 ,")).unwrap(), two);
        assert_eq!(parse("synchronous-standby", None).unwrap(), ConfirmAfter::SynchronousStandby);
        assert_eq!(parse("local-flush", None).unwrap(), ConfirmAfter::LocalFlush);
        for (after, names) in [("named-standbys", None), ("named-standbys", Some(" , ")), ("local-flush", Some("oslo"))]
        {
            let problem = parse(after, names).unwrap_err();
            assert!(problem.text.contains("confirm_standbys"), "{problem}");
        }
        assert!(parse("remote-apply", None).unwrap_err().text.contains("confirm_after"));
    }

    #[test]
    fn each_setting_has_a_sentence_of_doc() {
        for field in spec().fields {
            assert!(field.doc.ends_with('.') && field.doc.len() > 20, "{}", field.name);
        }
    }
}
