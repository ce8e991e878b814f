//! What a table has that only a server of the same system can have as it is: in the server's own words, which a target of that
//! system goes by and a person where the target is another's.

use serde::{Deserialize, Serialize};
use wavemark_domain::TableName;
use wavemark_domain::extras::LeftOut;

use crate::sql::{quoted, quoted_table};

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OwnKind {
    /// A column that is computed from others.
    Computed,
    /// A column's default that is an expression.
    Default,
    /// That each update sets a column to the present moment.
    OnUpdate,
    /// An index over beginnings, of full texts or of places, or over what is computed.
    Index,
    /// An index with an expression among its parts.
    IndexOfExpression,
    /// A check constraint.
    Check,
    /// A foreign key whose actions nobody tells.
    ForeignKey,
}

/// One such thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    pub(crate) kind: OwnKind,
    /// Of the column, the index or the constraint.
    pub(crate) name: String,
    /// What `ALTER TABLE` has behind the table's name to make it.
    pub(crate) alteration: String,
    /// Whether the server's catalog does not tell all of it: `…` stands for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unread: bool,
}

impl Own {
    /// The default of a column, as its system writes it, if the catalog tells it.
    pub(crate) fn default(column: &str, expression: Option<&str>) -> Self {
        let alteration = |text: &str| format!("ALTER COLUMN {} SET DEFAULT ({text})", quoted(column));
        Self::new(OwnKind::Default, column, expression, alteration)
    }

    /// For who makes it by hand.
    pub(crate) fn left_out(&self, table: &TableName) -> LeftOut {
        LeftOut { what: self.what(), statement: format!("ALTER TABLE {} {};", quoted_table(table), self.alteration) }
    }

    /// In words, with its name.
    pub(crate) fn what(&self) -> String {
        let name = &self.name;
        let what = match self.kind {
            OwnKind::Computed => format!("column {name}, which is computed"),
            OwnKind::Default => format!("the default of column {name}"),
            OwnKind::OnUpdate => format!("that each update sets column {name}"),
            OwnKind::Index | OwnKind::IndexOfExpression => format!("index {name}"),
            OwnKind::Check => format!("check {name}"),
            OwnKind::ForeignKey => format!("foreign key {name}, of which nobody tells what it does"),
        };
        if self.unread { format!("{what} (its … the server's catalog does not tell exactly)") } else { what }
    }

    /// What is made by an alteration, of which the catalog may not tell an expression.
    pub(crate) fn new(
        kind: OwnKind,
        name: &str,
        expression: Option<&str>,
        alteration: impl Fn(&str) -> String,
    ) -> Self {
        let unread = expression.is_none();
        Self { kind, name: name.to_owned(), alteration: alteration(expression.unwrap_or("…")), unread }
    }

    /// Whether a copy has it, too. What acts at an update would act at those by which the copy is kept: a column that the
    /// source's update did not set is not set by ours.
    pub(crate) fn is_copied(&self) -> bool {
        !matches!(self.kind, OwnKind::OnUpdate | OwnKind::ForeignKey) && !self.unread
    }

    /// Whether it has this column in it.
    pub(crate) fn is_of(&self, column: &str) -> bool {
        self.alteration.to_lowercase().contains(&quoted(column).to_lowercase())
    }
}
