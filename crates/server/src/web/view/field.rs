//! Fields of forms, made from an endpoint's settings or by hand.

use std::collections::HashMap;

use serde_json::Value;
use wavemark_connector::spec::{FieldKind, FieldSpec};

/// One field of a form.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// Its name in the form, and its id.
    pub name: String,
    /// Its label.
    pub label: String,
    /// What it holds; never a secret.
    pub value: String,
    /// What stands in it while it is empty.
    pub placeholder: String,
    /// One sentence about it.
    pub hint: String,
    /// What is wrong with it.
    pub error: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether what it holds is never shown again.
    pub secret: bool,
    /// Whether a secret is set that can be removed.
    pub removable: bool,
    /// The kind of input; `lines` has several lines.
    pub input: &'static str,
    /// What browsers may fill in.
    pub autocomplete: &'static str,
    /// The least number.
    pub min: Option<i64>,
    /// The greatest number.
    pub max: Option<i64>,
    /// What can be chosen.
    pub options: Vec<Choice>,
}

/// One thing that can be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What is sent.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// Whether it is chosen.
    pub chosen: bool,
}

/// Choices with one chosen.
#[must_use]
pub fn choices<V: Into<String>, L: Into<String>>(all: impl IntoIterator<Item = (V, L)>, chosen: &str) -> Vec<Choice> {
    all.into_iter()
        .map(|(value, label)| {
            let value = value.into();
            Choice { chosen: value == chosen, label: label.into(), value }
        })
        .collect()
}

impl Field {
    /// A line of text.
    pub fn text(name: impl Into<String>, label: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            label: label.into(),
            value: value.into(),
            input: "text",
            autocomplete: "off",
            ..Self::default()
        }
    }

    /// A secret: what it holds is never shown.
    pub fn secret(name: impl Into<String>, label: impl Into<String>) -> Self {
        Self { secret: true, input: "password", ..Self::text(name, label, "") }
    }

    /// A whole number.
    pub fn number(
        name: impl Into<String>,
        label: impl Into<String>,
        value: impl Into<String>,
        min: i64,
        max: i64,
    ) -> Self {
        Self { input: "number", min: Some(min), max: Some(max), ..Self::text(name, label, value) }
    }

    /// A choice.
    pub fn choice(name: impl Into<String>, label: impl Into<String>, options: Vec<Choice>) -> Self {
        Self { options, ..Self::text(name, label, "") }
    }

    /// Says something about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Must be given.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Shows an error beside it if it is the field that has one.
    #[must_use]
    pub fn wrong(mut self, error: Option<(&str, &str)>) -> Self {
        self.error = error.filter(|(field, _)| *field == self.name).map(|(_, text)| text.to_owned());
        self
    }

    /// The field of one of an endpoint's settings. `typed` is what a form that came back held, `set` are the secrets
    /// that are stored.
    #[must_use]
    pub fn of_setting(
        spec: &FieldSpec,
        stored: &Value,
        set: &[String],
        typed: Option<&HashMap<String, String>>,
    ) -> Self {
        let before = typed.map_or_else(
            || stored.get(spec.name).map_or_else(String::new, shown),
            |typed| typed.get(spec.name).cloned().unwrap_or_default(),
        );
        let is_set = set.iter().any(|name| name == spec.name);
        let mut field = match spec.kind {
            _ if spec.secret && spec.kind != FieldKind::Pem => Self::secret(spec.name, spec.label),
            FieldKind::Text => Self::text(spec.name, spec.label, before),
            FieldKind::Integer { min, max } => Self::number(spec.name, spec.label, before, min, max),
            FieldKind::Pem => Self {
                input: "lines",
                ..Self::text(spec.name, spec.label, if spec.secret { String::new() } else { before })
            },
            FieldKind::Choice { words } => {
                let none = spec.default.map_or_else(|| "not set".to_owned(), |word| format!("{word} (default)"));
                let words = words
                    .iter()
                    .filter(|word| Some(**word) != spec.default)
                    .map(|word| ((*word).to_owned(), (*word).to_owned()));
                Self::choice(spec.name, spec.label, choices([(String::new(), none)].into_iter().chain(words), &before))
            }
            FieldKind::Boolean => {
                let none = format!("{} (default)", if spec.default == Some("true") { "yes" } else { "no" });
                let all = [("", none.as_str()), ("true", "yes"), ("false", "no")];
                Self::choice(spec.name, spec.label, choices(all, &before))
            }
        };
        field.secret = spec.secret;
        field.required = spec.required && !is_set;
        field.removable = is_set && !spec.required;
        spec.doc.clone_into(&mut field.hint);
        field.placeholder = match (is_set, spec.default) {
            (true, _) => "set; leave empty to keep it".to_owned(),
            (false, Some(default)) => default.to_owned(),
            (false, None) => String::new(),
        };
        field
    }
}

/// A stored setting as text.
#[must_use]
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(kind: FieldKind, secret: bool, default: Option<&'static str>) -> FieldSpec {
        FieldSpec { name: "it", label: "It", kind, required: false, secret, default, doc: "What it is." }
    }

    #[test]
    fn a_secret_is_never_shown_again() {
        let typed = HashMap::from([("it".to_owned(), "hunter2".to_owned())]);
        for kind in [FieldKind::Text, FieldKind::Pem] {
            let field = Field::of_setting(&spec(kind, true, None), &json!({}), &["it".to_owned()], Some(&typed));
            assert_eq!(field.value, "");
            assert_eq!(field.placeholder, "set; leave empty to keep it");
            assert!(field.removable);
        }
    }

    #[test]
    fn what_was_typed_stays_after_an_error() {
        let typed = HashMap::from([("it".to_owned(), "99999".to_owned())]);
        let kind = FieldKind::Integer { min: 1, max: 65_535 };
        let field = Field::of_setting(&spec(kind, false, Some("5432")), &json!({"it": 5432}), &[], Some(&typed))
            .wrong(Some(("it", "must be a whole number from 1 to 65535")));
        assert_eq!(field.value, "99999");
        assert_eq!(field.error.as_deref(), Some("must be a whole number from 1 to 65535"));
    }

    #[test]
    fn a_choice_that_is_left_out_is_the_default() {
        let kind = FieldKind::Choice { words: &["disable", "require"] };
        let field = Field::of_setting(&spec(kind, false, Some("require")), &json!({}), &[], None);
        let labels: Vec<_> =
            field.options.iter().map(|option| (option.value.as_str(), option.label.as_str())).collect();
        assert_eq!(labels, [("", "require (default)"), ("disable", "disable")]);
    }
}
