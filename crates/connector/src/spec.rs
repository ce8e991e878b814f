//! The settings that an endpoint of one system has: an allow-list from which the API validates, pages make forms
//! and docs are written. There are no free connection strings.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::TaskSettings;

/// What an endpoint may be used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read from.
    Source,
    /// Written to.
    Target,
    /// Both.
    Both,
}

/// One system's settings.
#[derive(Clone, Debug, Serialize)]
pub struct SettingsSpec {
    /// The system's name in the API, e.g. `postgresql`.
    pub engine: &'static str,
    /// The system's name for people.
    pub title: &'static str,
    /// What it can be used as.
    pub role: Role,
    /// Its settings, in the order of a form.
    pub fields: Vec<FieldSpec>,
    /// How people write a place in its log, where it is a source that can be followed.
    #[serde(skip)]
    pub positions: Option<PositionSpec>,
}

/// How people write a place in a source's log, and what a task may say with one.
#[derive(Clone, Copy, Debug)]
pub struct PositionSpec {
    /// The form in words, with an example, e.g. `a log sequence number like 16/B374D848`.
    pub form: &'static str,
    /// Whether a text has that form.
    pub is_one: fn(&str) -> bool,
    /// Whether a task can begin as its settings say, as far as their texts tell: the first that can't be accepted.
    pub check_start: fn(&TaskSettings) -> Result<(), FieldError>,
}

/// One setting.
#[derive(Clone, Debug, Serialize)]
pub struct FieldSpec {
    /// Its name in the API.
    pub name: &'static str,
    /// Its label on a form.
    pub label: &'static str,
    /// What it may hold.
    pub kind: FieldKind,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is a secret: sealed at rest, never shown.
    pub secret: bool,
    /// What it is when it isn't given, as text.
    pub default: Option<&'static str>,
    /// One sentence for people.
    pub doc: &'static str,
}

/// The name of the setting that [`load_rate`] makes.
pub const LOAD_RATE: &str = "load_mib_per_second";

/// The setting by which every system has its loads slowed down: the worker keeps to it, for all its tasks together.
#[must_use]
pub fn load_rate() -> FieldSpec {
    FieldSpec {
        name: LOAD_RATE,
        label: "Load at most, MiB a second",
        kind: FieldKind::Integer { min: 1, max: 100_000 },
        required: false,
        secret: false,
        default: None,
        doc: "All loads that one worker reads from here or writes to here together are no faster.",
    }
}

/// The name of the setting that [`max_connections`] makes.
pub const MAX_CONNECTIONS: &str = "max_connections";

/// The setting by which a system is spared connections: the worker keeps to it, for all its tasks together. The least is
/// what one task needs, as a source or as a target.
#[must_use]
pub fn max_connections(least: u16) -> FieldSpec {
    FieldSpec {
        name: MAX_CONNECTIONS,
        label: "Connections at most",
        kind: FieldKind::Integer { min: least.into(), max: 100_000 },
        required: false,
        secret: false,
        default: None,
        doc: "All tasks of one worker together open no more connections here; several workers each keep to it by \
              themselves. A task that finds too few free waits. The least is what one task needs.",
    }
}

/// The settings by which connections are encrypted, and whose certificates are trusted. `verify-full` is the default:
/// everything weaker lets whoever sits on the way read and change the rows, and a default is what most endpoints run with.
#[must_use]
pub fn encryption() -> [FieldSpec; 4] {
    [
        FieldSpec::optional(
            "tls_mode",
            "TLS",
            FieldKind::Choice { words: &["disable", "require", "verify-ca", "verify-full"] },
            Some("verify-full"),
            "disable: plain text; require: encrypted, with whoever answers; verify-ca: the server's certificate comes \
             from the CA; verify-full: and it is for this host.",
        ),
        FieldSpec::optional(
            "tls_ca",
            "CA certificate",
            FieldKind::Pem,
            None,
            "Certificates of the authorities that the server's certificate must come from; needed by verify-ca and \
             verify-full.",
        ),
        FieldSpec::optional(
            "tls_client_certificate",
            "Client certificate",
            FieldKind::Pem,
            None,
            "Shown to a server that asks for one; given together with its key.",
        ),
        FieldSpec::secret(
            "tls_client_key",
            "Client key",
            FieldKind::Pem,
            "The client certificate's private key, not encrypted.",
        ),
    ]
}

/// The setting by which an attempt to connect is limited.
#[must_use]
pub const fn connect_timeout() -> FieldSpec {
    FieldSpec::optional(
        "connect_timeout_seconds",
        "Connect timeout",
        FieldKind::Integer { min: 1, max: 300 },
        Some("10"),
        "How many seconds one attempt to connect may take.",
    )
}

/// What a setting may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum FieldKind {
    /// One line of text.
    Text,
    /// A whole number.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// True or false.
    Boolean,
    /// One of these words.
    Choice {
        /// The words.
        words: &'static [&'static str],
    },
    /// Certificates or a key in PEM.
    Pem,
}

/// A setting that can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text}")]
pub struct FieldError {
    /// Which setting.
    pub field: String,
    /// Why, one sentence.
    pub text: String,
}

impl SettingsSpec {
    /// Checks settings and the names of the secrets given with them: unknown names, missing ones, wrong kinds.
    ///
    /// # Errors
    /// The first setting that can't be accepted.
    pub fn validate<'a>(&self, settings: &Value, secrets: impl IntoIterator<Item = &'a str>) -> Result<(), FieldError> {
        let Value::Object(given) = settings else {
            return Err(error("settings", "must be an object"));
        };
        let secrets: Vec<&str> = secrets.into_iter().collect();
        for name in given.keys() {
            let field = self.field(name).ok_or_else(|| error(name, "is not a setting of this system"))?;
            if field.secret {
                return Err(error(name, "is a secret: give it under `secrets`"));
            }
        }
        for name in &secrets {
            if !self.field(name).is_some_and(|field| field.secret) {
                return Err(error(name, "is not a secret of this system"));
            }
        }
        self.fields.iter().try_for_each(|field| field.check(given.get(field.name), &secrets))
    }

    /// Checks the settings of a task that has this system as its source, as far as that goes without connecting.
    ///
    /// # Errors
    /// The first setting that can't be accepted.
    pub fn check_task(&self, settings: &TaskSettings) -> Result<(), FieldError> {
        if let StopAt::Position(position) = &settings.stop_at {
            self.check_position("stop_at", position)?;
        }
        if !settings.start_position.is_empty() {
            self.check_position("start_position", &settings.start_position)?;
        }
        match self.positions {
            Some(spec) => (spec.check_start)(settings),
            None if settings.names_start() => {
                Err(error("start_slot", &format!("A task can't begin at a place of your own in {}.", self.title)))
            }
            None => Ok(()),
        }
    }

    fn check_position(&self, field: &str, position: &str) -> Result<(), FieldError> {
        match self.positions {
            None => Err(error(field, &format!("{} has no positions that a task could name.", self.title))),
            Some(spec) if !(spec.is_one)(position) => {
                Err(error(field, &format!("A position of {} is {}.", self.title, spec.form)))
            }
            Some(_) => Ok(()),
        }
    }

    /// A setting by its name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl FieldSpec {
    /// A setting that must be given.
    #[must_use]
    pub const fn required(name: &'static str, label: &'static str, kind: FieldKind, doc: &'static str) -> Self {
        Self { name, label, kind, required: true, secret: false, default: None, doc }
    }

    /// A setting that may be left out.
    #[must_use]
    pub const fn optional(
        name: &'static str,
        label: &'static str,
        kind: FieldKind,
        default: Option<&'static str>,
        doc: &'static str,
    ) -> Self {
        Self { name, label, kind, required: false, secret: false, default, doc }
    }

    /// A secret that may be left out.
    #[must_use]
    pub const fn secret(name: &'static str, label: &'static str, kind: FieldKind, doc: &'static str) -> Self {
        Self { name, label, kind, required: false, secret: true, default: None, doc }
    }

    fn check(&self, given: Option<&Value>, secrets: &[&str]) -> Result<(), FieldError> {
        let Some(value) = given.filter(|value| !value.is_null()) else {
            let missing = self.required && !(self.secret && secrets.contains(&self.name));
            return if missing { Err(error(self.name, "must be given")) } else { Ok(()) };
        };
        match (self.kind, value) {
            (FieldKind::Text, Value::String(text)) => check_text(self.name, text, 1_024),
            (FieldKind::Pem, Value::String(text)) if text.contains("-----BEGIN ") => Ok(()),
            (FieldKind::Pem, _) => Err(error(self.name, "must be PEM text (-----BEGIN …)")),
            (FieldKind::Boolean, Value::Bool(_)) => Ok(()),
            (FieldKind::Integer { min, max }, Value::Number(number))
                if number.as_i64().is_some_and(|number| (min..=max).contains(&number)) =>
            {
                Ok(())
            }
            (FieldKind::Integer { min, max }, _) => {
                Err(error(self.name, &format!("must be a whole number from {min} to {max}")))
            }
            (FieldKind::Choice { words }, Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
            (FieldKind::Choice { words }, _) => Err(error(self.name, &format!("must be one of {}", words.join(", ")))),
            (FieldKind::Text, _) => Err(error(self.name, "must be text")),
            (FieldKind::Boolean, _) => Err(error(self.name, "must be true or false")),
        }
    }
}

fn check_text(field: &str, text: &str, most: usize) -> Result<(), FieldError> {
    if text.is_empty() {
        return Err(error(field, "must not be empty"));
    }
    if text.len() > most || text.chars().any(char::is_control) {
        return Err(error(field, &format!("must be one line of at most {most} bytes")));
    }
    Ok(())
}

fn error(field: &str, text: &str) -> FieldError {
    FieldError { field: field.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> SettingsSpec {
        let field = |name, kind, required, secret| FieldSpec {
            name,
            label: name,
            kind,
            required,
            secret,
            default: None,
            doc: "",
        };
        SettingsSpec {
            engine: "test",
            title: "Test",
            role: Role::Both,
            positions: None,
            fields: vec![
                field("host", FieldKind::Text, true, false),
                field("port", FieldKind::Integer { min: 1, max: 65_535 }, false, false),
                field("tls_mode", FieldKind::Choice { words: &["disable", "require"] }, false, false),
                field("password", FieldKind::Text, true, true),
            ],
        }
    }

    fn field_of(settings: &Value, secrets: &[&'static str]) -> Option<String> {
        spec().validate(settings, secrets.iter().copied()).err().map(|error| error.field)
    }

    #[test]
    fn fitting_settings_pass() {
        assert_eq!(field_of(&json!({"host": "db", "port": 5432}), &["password"]), None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(field_of(&json!({"host": "db", "options": "x"}), &["password"]).as_deref(), Some("options"));
        assert_eq!(field_of(&json!({"port": 5432}), &["password"]).as_deref(), Some("host"));
        assert_eq!(field_of(&json!({"host": "db", "port": 0}), &["password"]).as_deref(), Some("port"));
        assert_eq!(field_of(&json!({"host": "db", "tls_mode": "maybe"}), &["password"]).as_deref(), Some("tls_mode"));
        assert_eq!(field_of(&json!({"host": "db"}), &[]).as_deref(), Some("password"));
        assert_eq!(field_of(&json!({"host": "d\nb"}), &["password"]).as_deref(), Some("host"));
    }

    #[test]
    fn a_secret_among_the_settings_is_refused() {
        assert_eq!(field_of(&json!({"host": "db", "password": "x"}), &["password"]).as_deref(), Some("password"));
    }

    #[test]
    fn a_task_names_positions_as_the_system_writes_them() {
        let at = |text: &str| TaskSettings { stop_at: StopAt::Position(text.to_owned()), ..TaskSettings::default() };
        let with = SettingsSpec {
            positions: Some(PositionSpec {
                form: "a number",
                is_one: |text| text.parse::<u64>().is_ok(),
                check_start: |_| Ok(()),
            }),
            ..spec()
        };
        assert_eq!(with.check_task(&TaskSettings::default()), Ok(()));
        assert_eq!(with.check_task(&at("17")), Ok(()));
        assert_eq!(with.check_task(&at("1/7")).unwrap_err().to_string(), "stop_at: A position of Test is a number.");
        assert_eq!(spec().check_task(&at("17")).unwrap_err().field, "stop_at");
        let from = |text: &str| TaskSettings { start_position: text.to_owned(), ..TaskSettings::default() };
        assert_eq!(with.check_task(&from("17")), Ok(()));
        assert_eq!(with.check_task(&from("1/7")).unwrap_err().field, "start_position");
        let named = TaskSettings { start_slot: "mine".to_owned(), ..TaskSettings::default() };
        assert_eq!(spec().check_task(&named).unwrap_err().field, "start_slot");
    }
}
