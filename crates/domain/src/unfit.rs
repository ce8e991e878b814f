//! Values that have no place in their column at the target: what is done about them, and how many there were.

use serde::{Deserialize, Serialize};

/// What happens to a value that its column at the target can't hold. Keys, unique columns and columns of foreign keys are
/// never altered: rows would become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnfitPolicy {
    /// As any row that can't be applied.
    #[default]
    AsDataError,
    /// NULL comes in its place, and is counted.
    Null,
    /// The nearest value that the column holds comes in its place, and is counted.
    Clamp,
    /// A column that the task makes is a text if its type could not hold all that the source's can, so that each value has its
    /// place, as the source writes it. Elsewhere as any row that can't be applied.
    Text,
}

impl UnfitPolicy {
    /// The word used in the API, on pages and in mappings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::AsDataError => "as-data-error",
            Self::Null => "null",
            Self::Clamp => "clamp",
            Self::Text => "text",
        }
    }

    /// Reads [`UnfitPolicy::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::AsDataError, Self::Null, Self::Clamp, Self::Text].into_iter().find(|policy| policy.word() == word)
    }

    /// Whether values are altered by it.
    #[must_use]
    pub const fn alters(self) -> bool {
        matches!(self, Self::Null | Self::Clamp)
    }

    /// Whether it is what holds where nothing is said.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::AsDataError)
    }
}

/// How many values of a column were written otherwise than they are at the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfitCount {
    /// The column's name at the source.
    pub column: String,
    /// What was done.
    pub way: UnfitPolicy,
    /// How many times, since the table's load began.
    pub values: u64,
    /// When the first of them was written, by the worker's clock (microseconds since 1970).
    pub since: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_one_word_everywhere() {
        for (policy, word) in [
            (UnfitPolicy::AsDataError, "as-data-error"),
            (UnfitPolicy::Null, "null"),
            (UnfitPolicy::Clamp, "clamp"),
            (UnfitPolicy::Text, "text"),
        ] {
            assert_eq!(policy.word(), word);
            assert_eq!(UnfitPolicy::from_word(word), Some(policy));
            assert_eq!(serde_json::to_value(policy).unwrap(), word);
        }
        assert_eq!(UnfitPolicy::from_word("nil"), None);
    }
}
