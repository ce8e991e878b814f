//! What the bytes of a column mean.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The meaning of a column's bytes, agreed once when a task's plan is made.
///
/// The target names, best first, what it takes for a column; the source picks the first that it can give. Two
/// encodings are the same exactly if their names are. A name starts with the system whose wire form it is
/// (`postgresql binary`, `postgresql text`) or with `canonical`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Encoding(Cow<'static, str>);

impl Encoding {
    /// An encoding by its name.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
