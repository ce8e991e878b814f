//! Whether a column's values are what they were, once it has another type.

use crate::native::ColumnNative;

/// Whether two types are one, as far as values and their form in the log go.
pub(super) fn is_one(old: &ColumnNative, new: &ColumnNative) -> bool {
    let has_length = matches!(old.data_type.as_str(), "char" | "varchar" | "binary" | "varbinary");
    let has_digits = matches!(old.data_type.as_str(), "decimal" | "bit");
    old.data_type == new.data_type
        && old.unsigned == new.unsigned
        && (!has_length || old.length == new.length)
        && (!has_digits || old.precision == new.precision)
        && (!matches!(old.data_type.as_str(), "decimal" | "float" | "double") || old.scale == new.scale)
        && old.digits == new.digits
        && old.labels == new.labels
        && old.charset.is_some() == new.charset.is_some()
}

/// Whether the new type has every value of the old one, and the server gives each row just that.
pub(super) fn has_all_values(old: &ColumnNative, new: &ColumnNative) -> bool {
    let (from, to) = (old.data_type.as_str(), new.data_type.as_str());
    if old.charset.is_some() != new.charset.is_some() {
        return false;
    }
    match (whole(old), whole(new)) {
        (Some(from), Some(to)) => return to.0 <= from.0 && from.1 <= to.1,
        (None, None) => {}
        _ => return false,
    }
    match (from, to) {
        // With digits of its own it rounds.
        ("float", "float" | "double") | ("double", "double") => new.scale.is_none() && (old.unsigned || !new.unsigned),
        ("decimal", "decimal") => {
            let of = |native: &ColumnNative| native.precision.zip(native.scale);
            let fits = of(old).zip(of(new)).is_some_and(|((digits, behind), (most, most_behind))| {
                behind <= most_behind && digits - behind.min(digits) <= most - most_behind.min(most)
            });
            fits && (old.unsigned || !new.unsigned)
        }
        ("char" | "varchar", "varchar") | ("char", "char") | ("varbinary" | "binary", "varbinary") => {
            old.length.zip(new.length).is_some_and(|(before, after)| before <= after)
        }
        ("char" | "varchar", _) if large(to).is_some() => room(old, new),
        (_, _) if large(from).is_some() && large(to).is_some() => {
            // A text that gets more bytes a character is given a larger type by the server itself, if need be.
            large(from) <= large(to)
        }
        ("varbinary" | "binary", "tinyblob" | "blob" | "mediumblob" | "longblob") => room(old, new),
        ("time", "time") | ("datetime", "datetime") | ("timestamp", "timestamp") => old.digits <= new.digits,
        ("enum", "enum") | ("set", "set") => old.labels.iter().all(|label| new.labels.contains(label)),
        _ => false,
    }
}

/// Whether every character of one set is in the other. Which of two sets the server calls `utf8` is a setting of its own: where
/// that matters it must be `strict` about those that it lacks.
pub(super) fn has_all_characters(old: &str, new: &str, strict: bool) -> bool {
    match new {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" => true,
        _ if !strict => false,
        "utf8mb3" | "utf8" | "ucs2" => matches!(old, "ascii" | "latin1" | "utf8" | "utf8mb3" | "ucs2"),
        "latin1" => old == "ascii",
        _ => false,
    }
}

/// The least and the greatest of a whole number.
fn whole(native: &ColumnNative) -> Option<(i128, i128)> {
    let bits = match native.data_type.as_str() {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        "bigint" => 64,
        _ => return None,
    };
    let all = 1_i128 << bits;
    Some(if native.unsigned { (0, all - 1) } else { (-all / 2, all / 2 - 1) })
}

/// A large text or row of bytes by its size.
fn large(name: &str) -> Option<(bool, u8)> {
    let sizes = ["tiny", "", "medium", "long"];
    let (is_text, size) = match name.strip_suffix("text") {
        Some(size) => (true, size),
        None => (false, name.strip_suffix("blob")?),
    };
    let at = sizes.iter().position(|known| *known == size)?;
    Some((is_text, u8::try_from(at).unwrap_or_default()))
}

/// Whether a value of so many characters, or bytes, has room.
fn room(old: &ColumnNative, new: &ColumnNative) -> bool {
    let each = if old.charset.is_some() { 4 } else { 1 };
    let is_text = new.data_type.ends_with("text");
    let most = old.length.map(|length| length.saturating_mul(each));
    is_text == old.charset.is_some() && most.zip(new.length).is_some_and(|(before, after)| before <= after)
}
