//! Columns in an index: how much of each, and whether the server bears all of it.

use wavemark_domain::TablePlan;

use super::columns::{is_keyed, native};
use super::server::Server;
use super::{collations, target_name};
use crate::native::ColumnNative;
use crate::sql::quoted;
use crate::target::shares::{INDEX, divide};

/// The bytes of a character.
const CHARACTER: u32 = 4;

/// Columns as an index has them, and whether it has all of each. What is declared of this family fitted at the source, with as
/// much of each column as `beginnings` says; of a type without an end no index has all.
pub(super) fn parts(plan: &TablePlan, columns: &[&str], beginnings: &[Option<u32>]) -> Option<(Vec<String>, bool)> {
    let natives: Option<Vec<ColumnNative>> = columns.iter().map(|name| native(plan, name)).collect();
    let natives = natives?;
    let sizes: Vec<u32> = natives.iter().map(size).collect();
    let mut is_whole = true;
    let mut parts = Vec::with_capacity(columns.len());
    for (at, share) in divide(&sizes, INDEX).into_iter().enumerate() {
        let native = &natives[at];
        let unit = if native.charset.is_some() { CHARACTER } else { 1 };
        let is_cut = share < sizes[at] && (plan.declared.is_some() || is_endless(native));
        let own = beginnings.get(at).copied().flatten();
        let beginning = own.or_else(|| is_cut.then_some(share / unit));
        let name = quoted(target_name(plan, columns[at])?);
        parts.push(beginning.map_or_else(|| name.clone(), |length| format!("{name}({length})")));
        is_whole &= beginning.is_none();
    }
    Some((parts, is_whole))
}

/// Whether an index over all of these columns, as they are here, is longer than the server bears.
pub(super) fn is_too_long(plan: &TablePlan, columns: &[&str], server: &Server) -> bool {
    let bytes = |name: &&str| {
        let native = native(plan, name).unwrap_or_default();
        let charset = collations::of(&native, is_keyed(plan, name), server).map(|comparison| comparison.charset);
        match (native.data_type.as_str(), native.charset.is_some().then_some(charset).flatten()) {
            ("char" | "varchar", Some(charset)) => native.length.unwrap_or(u32::MAX).saturating_mul(width(&charset)),
            _ => size(&native),
        }
    };
    columns.iter().map(bytes).fold(0, u32::saturating_add) > INDEX
}

/// The most bytes of a character.
fn width(charset: &str) -> u32 {
    match charset {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => 4,
        "utf8mb3" | "utf8" | "ujis" | "eucjpms" => 3,
        "ucs2" | "big5" | "gbk" | "sjis" | "cp932" | "euckr" | "gb2312" => 2,
        _ => 1,
    }
}

fn is_endless(native: &ColumnNative) -> bool {
    native.data_type.ends_with("text") || native.data_type.ends_with("blob")
}

/// The most bytes of a value.
fn size(native: &ColumnNative) -> u32 {
    let length = native.length.unwrap_or(u32::MAX);
    match (native.data_type.as_str(), native.charset.as_deref()) {
        _ if is_endless(native) => u32::MAX,
        ("char" | "varchar", Some(charset)) if charset != "ascii" => length.saturating_mul(CHARACTER),
        ("char" | "varchar" | "binary" | "varbinary", _) => length,
        ("decimal", _) => 30,
        _ => 8,
    }
}
