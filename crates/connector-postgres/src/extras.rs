//! What a table has besides columns and a key, in words that no system owns.

use wavemark_domain::extras::ColumnExtras;
use wavemark_domain::{Extras, Table};

use crate::native::{ColumnNative, TableNative};

/// What a table has besides columns and a key.
pub(crate) fn of(table: &Table) -> Extras {
    let native = TableNative::of(table).unwrap_or_default();
    let columns = table.columns.iter().map(|column| {
        let Ok(own) = ColumnNative::of(column) else { return ColumnExtras::default() };
        ColumnExtras { default: None, counted: own.identity.is_some(), comment: own.comment }
    });
    Extras { columns: columns.collect(), indexes: Vec::new(), foreign_keys: Vec::new(), comment: native.comment }
}
