//! Tables that can't be followed exactly, whatever the log says of them.

use wavemark_domain::{Fault, Problem, Table};

use crate::log;
use crate::native::{ColumnNative, TableNative};

/// Engines whose rows a transaction sees as of its beginning.
const WITH_SNAPSHOTS: [&str; 3] = ["innodb", "rocksdb", "tokudb"];

/// Character sets with characters that the catalog, which is in `utf8mb3`, can't tell.
const BEYOND_THE_CATALOG: [&str; 5] = ["utf8mb4", "utf16", "utf16le", "utf32", "gb18030"];

/// Why a table can't be followed, if it can't.
pub(super) fn of(table: &Table) -> Option<Problem> {
    engine(table).or_else(|| log::refuse(table)).or_else(|| labels(table))
}

/// A row that comes before it is read is loaded, and the log has it, too.
fn engine(table: &Table) -> Option<Problem> {
    let engine = TableNative::of(table).engine?;
    if WITH_SNAPSHOTS.iter().any(|known| engine.eq_ignore_ascii_case(known)) {
        return None;
    }
    let text = format!(
        "{} can't be followed: it is kept by {engine}, which does not say what rows were there at one moment, so that none \
         could be told from those that come while the table is loaded.",
        table.name
    );
    let mend =
        format!("ALTER TABLE {} ENGINE = InnoDB, or only load the table.", crate::sql::quoted_table(&table.name));
    Some(Problem::new(Fault::Data, "no-snapshots", text).table(&table.name).advice(mend))
}

/// The catalog has a question mark for what it can't tell, and the log has labels by number alone.
fn labels(table: &Table) -> Option<Problem> {
    let is_unread = |native: &ColumnNative| {
        let charset = native.charset.as_deref().unwrap_or_default();
        BEYOND_THE_CATALOG.contains(&charset) && native.labels.iter().any(|label| label.contains('?'))
    };
    let unread = |column: &&wavemark_domain::Column| ColumnNative::of(column).is_ok_and(|native| is_unread(&native));
    let column = table.columns.iter().find(unread)?;
    let text = format!(
        "{} can't be followed: a label of column {} has a question mark, which is how the server's catalog writes each character \
         beyond U+FFFF, and the log has labels by their number alone.",
        table.name, column.name
    );
    Some(Problem::new(Fault::Data, "labels-unread", text).table(&table.name).advice(
        "Give the label another name, or the column a character set without such characters (utf8mb3, latin1); or leave it \
         out with a remove-column rule, or only load the table.",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wavemark_domain::Column;
    use wavemark_domain::TableName;
    use wavemark_domain::catalog::TableKind;

    use super::*;

    fn refused(engine: Option<&str>, charset: &str, label: &str) -> Option<String> {
        let native = ColumnNative {
            data_type: "enum".to_owned(),
            labels: vec!["a".to_owned(), label.to_owned()],
            charset: Some(charset.to_owned()),
            ..ColumnNative::default()
        };
        let column = Column {
            name: "kind".to_owned(),
            declared: String::new(),
            not_null: false,
            generated: false,
            native: json!(native),
        };
        let native = TableNative { engine: engine.map(str::to_owned), ..TableNative::default() };
        let table = Table {
            name: TableName::new("shop", "orders"),
            kind: TableKind::Table,
            columns: vec![column],
            key: Vec::new(),
            rows_estimated: None,
            bytes_estimated: None,
            native: json!(native),
        };
        of(&table).map(|problem| problem.code)
    }

    #[test]
    fn a_table_without_snapshots_or_with_unread_labels_is_not_followed() {
        assert_eq!(refused(Some("InnoDB"), "utf8mb4", "b"), None);
        assert_eq!(refused(None, "latin1", "what?"), None);
        assert_eq!(refused(Some("ROCKSDB"), "utf8mb4", "b"), None);
        assert_eq!(refused(Some("MyISAM"), "utf8mb4", "b").as_deref(), Some("no-snapshots"));
        assert_eq!(refused(Some("Aria"), "utf8mb4", "b").as_deref(), Some("no-snapshots"));
        assert_eq!(refused(None, "utf8mb4", "?").as_deref(), Some("labels-unread"));
    }
}
