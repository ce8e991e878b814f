//! Indexes, keys and counters of another system as this one makes them.

use wavemark_domain::Logical;
use wavemark_domain::extras::{self, Action};

use super::names::Chosen;
use crate::native::{ForeignKey, Identity, Index, Key, Qualified, Sequence};
use crate::wire::quote_identifier;

/// What an index surely holds of one row: a page takes a third of itself, and every value brings a few bytes along.
const MOST_BYTES: u32 = 2_560;

/// A key over these columns, as the plain statement makes it.
pub(super) fn key(name: String, columns: Vec<String>) -> Key {
    Key { name, columns, included: Vec::new(), deferrable: false, deferred: false, nulls_not_distinct: false }
}

/// Unique constraints, and indexes that are none, over columns that there will be.
pub(super) fn indexes(
    table: &str,
    from: &[extras::Index],
    is_there: impl Fn(&str) -> bool,
    chosen: &mut Chosen,
) -> (Vec<Key>, Vec<Index>) {
    let (mut uniques, mut indexes) = (Vec::new(), Vec::new());
    for one in from {
        let fits = one.most_bytes.is_some_and(|bytes| bytes <= MOST_BYTES);
        if !fits || !one.parts.iter().all(|part| is_there(&part.column)) {
            continue;
        }
        if one.unique && one.parts.iter().all(|part| !part.descending) {
            let columns = one.parts.iter().map(|part| part.column.clone()).collect();
            uniques.push(key(chosen.name(table, &one.name, "key"), columns));
        } else {
            indexes.push(index(chosen.name(table, &one.name, "idx"), one));
        }
    }
    (uniques, indexes)
}

fn index(name: String, from: &extras::Index) -> Index {
    let part = |part: &extras::IndexPart| {
        let order = if part.descending { " DESC" } else { "" };
        format!("{}{order}", quote_identifier(&part.column))
    };
    let parts: Vec<String> = from.parts.iter().map(part).collect();
    Index {
        name,
        unique: from.unique,
        columns: from.parts.iter().map(|part| Some(part.column.clone())).collect(),
        partial: false,
        definition: format!("USING btree ({})", parts.join(", ")),
    }
}

/// The foreign keys that mean the same here and whose columns there will be.
pub(super) fn foreign_keys(
    from: &[extras::ForeignKey],
    is_there: impl Fn(&str) -> bool,
    chosen: &mut Chosen,
) -> Vec<ForeignKey> {
    let of = |one: &extras::ForeignKey| ForeignKey {
        name: chosen.like(&one.name),
        columns: one.columns.clone(),
        target: Qualified { schema: one.target.schema.clone(), name: one.target.table.clone() },
        target_columns: one.target_columns.clone(),
        on_update: letter(one.on_update),
        on_delete: letter(one.on_delete),
        r#match: "s".to_owned(),
        deferrable: false,
        deferred: false,
        validated: true,
        special: false,
    };
    from.iter().filter(|one| !one.own && one.columns.iter().all(|column| is_there(column))).map(of).collect()
}

/// As `pg_constraint` has it.
fn letter(action: Action) -> String {
    match action {
        Action::NoAction => "a",
        Action::Restrict => "r",
        Action::Cascade => "c",
        Action::SetNull => "n",
    }
    .to_owned()
}

/// How a column counts here.
pub(super) enum Counter {
    /// As an identity, with a sequence of its own.
    Identity(Identity),
    /// By a sequence that it takes its default from: its type can be no identity.
    Sequence,
}

/// How a column of this type counts, if it can.
pub(super) fn counter(logical: &Logical) -> Option<Counter> {
    match logical {
        Logical::Int16 | Logical::Int32 | Logical::Int64 => Some(Counter::Identity(Identity::ByDefault)),
        Logical::Uint64 | Logical::Float32 | Logical::Float64 => Some(Counter::Sequence),
        _ => None,
    }
}

/// A sequence that counts up from 1 for a column and goes with it.
pub(super) fn sequence(schema: &str, name: String, column: &str) -> Sequence {
    Sequence {
        name: Qualified { schema: schema.to_owned(), name },
        column: column.to_owned(),
        identity: false,
        owned: true,
        data_type: "bigint".to_owned(),
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
    }
}
