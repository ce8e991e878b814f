//! What a transformation does to one name.

/// One action on one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    /// A new name.
    To(String),
    /// All small letters.
    Lowercase,
    /// All capital letters.
    Uppercase,
    /// Something in front.
    AddPrefix(String),
    /// Without what is in front; a name that begins otherwise stays.
    RemovePrefix(String),
    /// Something else in front; a name that begins otherwise stays.
    ReplacePrefix {
        /// What is in front.
        old: String,
        /// What comes in its place.
        new: String,
    },
    /// Something behind.
    AddSuffix(String),
    /// Without what is behind; a name that ends otherwise stays.
    RemoveSuffix(String),
    /// Something else behind; a name that ends otherwise stays.
    ReplaceSuffix {
        /// What is behind.
        old: String,
        /// What comes in its place.
        new: String,
    },
}

impl Rename {
    /// The new name. Never empty: where nothing would be left, the name stays.
    #[must_use]
    pub fn apply(&self, name: &str) -> String {
        let new = match self {
            Self::To(new) => new.clone(),
            Self::Lowercase => name.to_lowercase(),
            Self::Uppercase => name.to_uppercase(),
            Self::AddPrefix(prefix) => format!("{prefix}{name}"),
            Self::RemovePrefix(prefix) => name.strip_prefix(prefix.as_str()).unwrap_or(name).to_owned(),
            Self::ReplacePrefix { old, new } => {
                name.strip_prefix(old.as_str()).map_or_else(|| name.to_owned(), |rest| format!("{new}{rest}"))
            }
            Self::AddSuffix(suffix) => format!("{name}{suffix}"),
            Self::RemoveSuffix(suffix) => name.strip_suffix(suffix.as_str()).unwrap_or(name).to_owned(),
            Self::ReplaceSuffix { old, new } => {
                name.strip_suffix(old.as_str()).map_or_else(|| name.to_owned(), |rest| format!("{rest}{new}"))
            }
        };
        if new.is_empty() { name.to_owned() } else { new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_does_what_its_name_says() {
        let text = |text: &str| text.to_owned();
        for (rename, name, expected) in [
            (Rename::To(text("n")), "old", "n"),
            (Rename::Lowercase, "ÄGypt", "ägypt"),
            (Rename::Uppercase, "abc", "ABC"),
            (Rename::AddPrefix(text("p_")), "x", "p_x"),
            (Rename::RemovePrefix(text("p_")), "p_x", "x"),
            (Rename::RemovePrefix(text("p_")), "x", "x"),
            (Rename::RemovePrefix(text("p_")), "p_", "p_"),
            (Rename::ReplacePrefix { old: text("a_"), new: text("b_") }, "a_x", "b_x"),
            (Rename::ReplacePrefix { old: text("a_"), new: text("b_") }, "x", "x"),
            (Rename::AddSuffix(text("_s")), "x", "x_s"),
            (Rename::RemoveSuffix(text("_s")), "x_s", "x"),
            (Rename::ReplaceSuffix { old: text("_s"), new: text("_t") }, "x_s", "x_t"),
        ] {
            assert_eq!(rename.apply(name), expected, "{rename:?} on {name}");
        }
    }
}
