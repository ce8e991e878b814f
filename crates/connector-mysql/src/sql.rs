//! Names and texts in statements.

use wavemark_domain::TableName;

/// A name.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table by its schema and name.
pub(crate) fn quoted_table(name: &TableName) -> String {
    format!("{}.{}", quoted(&name.schema), quoted(&name.table))
}

/// A text; sessions are set up to take a backslash for what it is by default.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Bytes.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    format!("X'{}'", hex::encode(bytes))
}
