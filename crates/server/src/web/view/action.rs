//! Buttons and the questions that dangerous ones ask.

/// One button: a post, or a link to a page that asks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What it says.
    pub label: String,
    /// Where it leads.
    pub href: String,
    /// Whether it posts at once.
    pub post: bool,
    /// How it looks: `main`, `risk` or nothing.
    pub class: &'static str,
    /// The dialog that asks the same as the page behind the link.
    pub dialog: Option<&'static str>,
}

impl Action {
    /// A button that does it at once.
    pub fn post(label: impl Into<String>, href: impl Into<String>) -> Self {
        Self { label: label.into(), href: href.into(), post: true, class: "", dialog: None }
    }

    /// A link.
    pub fn link(label: impl Into<String>, href: impl Into<String>) -> Self {
        Self { label: label.into(), href: href.into(), post: false, class: "", dialog: None }
    }

    /// The one that stands out.
    #[must_use]
    pub fn main(mut self) -> Self {
        self.class = "main";
        self
    }

    /// One to be careful with.
    #[must_use]
    pub fn risk(mut self) -> Self {
        self.class = "risk";
        self
    }

    /// Asks in place where scripts run.
    #[must_use]
    pub fn asks(mut self, dialog: &'static str) -> Self {
        self.dialog = Some(dialog);
        self
    }
}

/// A question that names the consequence.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The dialog's id.
    pub id: &'static str,
    /// The question.
    pub title: String,
    /// What will happen, in a sentence.
    pub text: String,
    /// What will happen, one by one.
    pub consequences: Vec<String>,
    /// The name that has to be typed.
    pub confirm: Option<String>,
    /// What was wrong with it.
    pub error: Option<String>,
    /// Where the answer goes.
    pub action: String,
    /// The button that does it.
    pub button: &'static str,
    /// Where *cancel* leads.
    pub back: String,
}
