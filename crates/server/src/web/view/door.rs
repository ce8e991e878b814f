//! What is shown to someone who is not logged in, and pages of one sentence.

use askama::Template;

use super::assets;
use super::field::Field;

/// A page of one form or one sentence.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "pages/session/door.html")]
pub struct Door {
    /// Its title.
    pub title: String,
    /// One sentence.
    pub text: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Where the form or the button leads.
    pub action: String,
    /// Where to go after that.
    pub next: String,
    /// The form's fields; without any the button is a link.
    pub fields: Vec<Field>,
    /// The button.
    pub button: &'static str,
}

impl Door {
    fn asset(&self, path: &str) -> String {
        let _ = self;
        assets::href(path)
    }

    /// The form that logs in.
    #[must_use]
    pub fn log_in(name: &str, next: &str, error: Option<String>) -> Self {
        let name = Field { autocomplete: "username", ..Field::text("name", "Name", name).required() };
        let password =
            Field { autocomplete: "current-password", required: true, ..Field::secret("password", "Password") };
        Self {
            title: "Log in".to_owned(),
            error,
            action: "/login".to_owned(),
            next: next.to_owned(),
            fields: vec![name, password],
            button: "Log in",
            ..Self::default()
        }
    }

    /// The form that makes the first admin.
    #[must_use]
    pub fn first_run(name: &str, error: Option<(&str, &str)>) -> Self {
        let hint = "The server printed it when it started: in its log, or in the terminal.";
        let code = Field::text("code", "One-time code", "").required().hint(hint).wrong(error);
        let name =
            Field { autocomplete: "username", ..Field::text("name", "Name of the first admin", name).required() }
                .wrong(error);
        let password = Field { autocomplete: "new-password", ..Field::secret("password", "New password") };
        let password = Field { required: true, ..password }.hint("At least 10 characters.").wrong(error);
        Self {
            title: "Welcome to Wavemark".to_owned(),
            text: Some("Nobody can log in yet. Make the first admin.".to_owned()),
            error: error.filter(|(field, _)| field.is_empty()).map(|(_, text)| text.to_owned()),
            action: "/first-run".to_owned(),
            fields: vec![code, name, password],
            button: "Make the admin and log in",
            ..Self::default()
        }
    }

    /// A page of one sentence, e.g. for what does not exist.
    #[must_use]
    pub fn sentence(title: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            text: Some(text.into()),
            action: "/".to_owned(),
            button: "To the overview",
            ..Self::default()
        }
    }
}
