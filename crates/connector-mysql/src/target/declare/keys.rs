//! What rows of another system are told apart, found and counted by, as this one makes it.

use std::collections::BTreeMap;

use wavemark_domain::extras::{Extras, ForeignKey, Index};
use wavemark_domain::{Logical, Table};

use super::names::Chosen;
use super::{LABEL, rows};
use crate::native::TableNative;
use crate::target::shares::{INDEX, divide};

/// The most columns of an index.
const PARTS: usize = 16;

/// The indexes over columns that there will be.
pub(super) fn indexes(source: &Table, logical: &[Option<Logical>], extras: &Extras) -> Vec<Index> {
    let mut chosen = Chosen::default();
    let fits = |index: &&Index| {
        let is_possible = |column: &str| is_there(source, logical, column) && !is_document(source, logical, column);
        index.parts.len() <= PARTS && index.parts.iter().all(|part| is_possible(&part.column))
    };
    let of = |index: &Index| Index { name: chosen.like(&index.name), ..index.clone() };
    extras.indexes.iter().filter(fits).map(of).collect()
}

/// The foreign keys that mean the same here and whose columns there will be. Their names are each other's neighbours in the whole schema, so they have the
/// table's in front.
pub(super) fn foreign_keys(source: &Table, logical: &[Option<Logical>], extras: &Extras) -> Vec<ForeignKey> {
    let mut chosen = Chosen::default();
    let table = &source.name.table;
    let fits = |key: &&ForeignKey| {
        !key.own && key.columns.len() <= PARTS && key.columns.iter().all(|column| is_there(source, logical, column))
    };
    let of = |key: &ForeignKey| {
        let name =
            if key.name.starts_with(table.as_str()) { key.name.clone() } else { format!("{table}_{}", key.name) };
        ForeignKey { name: chosen.like(&name), ..key.clone() }
    };
    extras.foreign_keys.iter().filter(fits).map(of).collect()
}

/// The column that counts; there is one at most, the key's first before others.
pub(super) fn counting(source: &Table, logical: &[Option<Logical>], extras: &Extras) -> Option<usize> {
    let counts = |at: &usize| {
        let is_whole = matches!(logical[*at], Some(Logical::Int16 | Logical::Int32 | Logical::Int64 | Logical::Uint64));
        let column = &source.columns[*at];
        is_whole && column.not_null && !column.generated && extras.columns.get(*at).is_some_and(|one| one.counted)
    };
    let all = 0..source.columns.len().min(logical.len());
    let first = source.key.first().and_then(|name| source.column(name)).filter(|at| all.contains(at));
    first.into_iter().chain(all).find(counts)
}

fn is_there(source: &Table, logical: &[Option<Logical>], column: &str) -> bool {
    let at = source.column(column).filter(|at| !source.columns[*at].generated);
    at.is_some_and(|at| logical.get(at).is_some_and(Option::is_some))
}

/// A document is in no index.
fn is_document(source: &Table, logical: &[Option<Logical>], column: &str) -> bool {
    source.column(column).is_some_and(|at| logical.get(at) == Some(&Some(Logical::Json)))
}

/// How many bytes the texts have that rows are told apart by, so that each of their indexes holds them.
pub(super) struct Shares(BTreeMap<usize, u32>);

impl Shares {
    /// Of the key's columns, those of unique indexes, and those of foreign keys, for each of which the server makes an index.
    /// Other indexes hold beginnings.
    pub(super) fn of(source: &Table, logical: &[Option<Logical>], native: &TableNative) -> Self {
        let mut shares = Self(BTreeMap::new());
        let unique = native.indexes.iter().filter(|index| index.unique);
        let unique = unique.map(|index| index.parts.iter().map(|part| part.column.as_str()).collect());
        let pointing = native.foreign_keys.iter().map(|key| key.columns.iter().map(String::as_str).collect());
        let key: Vec<&str> = source.key.iter().map(String::as_str).collect();
        for columns in std::iter::once(key).chain(unique).chain(pointing) {
            shares.add(source, logical, &columns);
        }
        shares
    }

    pub(super) fn share(&self, at: usize) -> Option<u32> {
        self.0.get(&at).copied()
    }

    fn add(&mut self, source: &Table, logical: &[Option<Logical>], columns: &[&str]) {
        let known = |name: &&str| {
            let at = source.column(name)?;
            logical.get(at)?.as_ref().map(|logical| (at, size(logical)))
        };
        let parts: Vec<(usize, (u32, bool))> = columns.iter().filter_map(known).collect();
        let sizes: Vec<u32> = parts.iter().map(|(_, (bytes, _))| *bytes).collect();
        for ((at, (_, is_text)), share) in parts.into_iter().zip(divide(&sizes, INDEX)) {
            if is_text {
                let least = self.0.entry(at).or_insert(share);
                *least = share.min(*least);
            }
        }
    }
}

/// The most bytes of a value, and whether it could be made shorter.
fn size(logical: &Logical) -> (u32, bool) {
    let text = |length: u32| (length.saturating_mul(super::CHARACTER), true);
    match logical {
        Logical::Text { length: Some(length @ 1..=rows::LONGEST) } => text(*length),
        Logical::Enum { .. } => text(LABEL),
        Logical::Text { .. } | Logical::Set { .. } | Logical::Bytes => (u32::MAX, true),
        Logical::Bits { length } if *length > 64 => (u32::MAX, true),
        Logical::Decimal { .. } if super::of(logical, super::Room::Own).declared == "longtext" => (u32::MAX, true),
        Logical::Uuid => (36, false),
        Logical::Decimal { .. } => (30, false),
        _ => (8, false),
    }
}
