//! What posted forms hold.

use std::collections::HashMap;

/// The fields of a form by name; of several of one name the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Posted {
    /// The fields.
    pub(super) typed: HashMap<String, String>,
    /// The secrets to remove.
    pub(super) remove: Vec<String>,
}

impl From<Vec<(String, String)>> for Posted {
    fn from(fields: Vec<(String, String)>) -> Self {
        let mut posted = Self::default();
        for (name, value) in fields {
            if name == "remove" {
                posted.remove.push(value);
            } else {
                // Browsers send line ends as CRLF.
                posted.typed.entry(name).or_insert_with(|| value.replace("\r\n", "\n"));
            }
        }
        posted
    }
}

impl Posted {
    /// A field, trimmed; empty if it is missing.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> &str {
        self.typed.get(name).map_or("", |text| text.trim())
    }
}
