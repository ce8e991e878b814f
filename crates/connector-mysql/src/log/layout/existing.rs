//! What the rows that were there have in a column that is added, as a text that another system reads as the same value.

use std::fmt::Write as _;

use wavemark_domain::catalog::Column;
use wavemark_domain::moment::Date;

use crate::log::ddl::{ColumnDefinition, Given};
use crate::native::ColumnNative;

type Value = Result<Option<String>, &'static str>;

const OTHERWISE: &str = "its default is not a plain value of its type";

/// The value; none for NULL; why it is not known.
pub(super) fn value(defined: &ColumnDefinition, column: &Column) -> Value {
    let native = ColumnNative::of(column).map_err(|_| "its type is not known")?;
    if defined.auto_increment {
        return Err("the server counted them");
    }
    // Without a word it may be NOT NULL, and the present moment, by a setting of the server.
    if native.data_type == "timestamp" && !(defined.nullable && matches!(defined.default, Given::Nothing | Given::Null))
    {
        return Err("a timestamp is as its server's settings and time zone say");
    }
    let text = match &defined.default {
        Given::Computed => return Err("its default is computed"),
        Given::Null => return Ok(None),
        Given::Nothing if !defined.not_null => return Ok(None),
        Given::Nothing => return implicit(&native).map(Some),
        Given::Number(text) if native.data_type == "bit" => bits(text, &native),
        // What the server makes of `007`, `1e3` and an enum's number is its own.
        Given::Number(text) if !has_numbers(&native) => {
            let is_plain = text.parse::<i64>().is_ok_and(|number| number.to_string() == **text);
            if is_plain && native.labels.is_empty() { plain(text, &native) } else { None }
        }
        Given::Number(text) | Given::Text(text) => plain(text, &native),
    };
    text.map(Some).ok_or(OTHERWISE)
}

/// Whether a value is a number, rather than a text that a number is written as.
fn has_numbers(native: &ColumnNative) -> bool {
    let kinds = ["char", "binary", "text", "blob", "enum", "set"];
    !kinds.iter().any(|kind| native.data_type.ends_with(kind))
}

/// What a column that may not be NULL has without a default.
pub(crate) fn implicit(native: &ColumnNative) -> Result<String, &'static str> {
    Ok(match native.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double" | "year" => {
            "0".to_owned()
        }
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "set" | "varbinary" | "tinyblob"
        | "blob" | "mediumblob" | "longblob" => String::new(),
        "binary" => hex(&[], native),
        "enum" => native.labels.first().cloned().ok_or(OTHERWISE)?,
        "time" => "00:00:00".to_owned(),
        "bit" => bits("0", native).ok_or(OTHERWISE)?,
        _ => return Err("its type has no value for that which another system has"),
    })
}

/// A text that is a value of the type, as another system reads it.
pub(crate) fn plain(text: &str, native: &ColumnNative) -> Option<String> {
    match native.data_type.as_str() {
        "tinyint" => whole(text, 8, native.unsigned),
        "smallint" => whole(text, 16, native.unsigned),
        "mediumint" => whole(text, 24, native.unsigned),
        "int" => whole(text, 32, native.unsigned),
        "bigint" => whole(text, 64, native.unsigned),
        "year" => text.parse::<u16>().ok().filter(|year| (1901..=2155).contains(year)).map(|year| year.to_string()),
        "decimal" => decimal(text, native),
        "float" | "double" if native.scale.is_some() => None,
        // By way of a double, as the server reads it.
        "float" => {
            let number = text.parse::<f64>().ok().filter(|number| is_number(text) && number.is_finite())?;
            #[expect(clippy::cast_possible_truncation, reason = "whether anything is lost is what is asked")]
            let short = number as f32;
            let is_same = text.parse::<f32>().is_ok_and(|direct| direct.to_bits() == short.to_bits());
            (is_same && short.is_finite() && !(native.unsigned && number < 0.0)).then(|| text.to_owned())
        }
        "double" => {
            let number = text.parse::<f64>().ok().filter(|number| is_number(text) && number.is_finite())?;
            (!(native.unsigned && number < 0.0)).then(|| text.to_owned())
        }
        "char" => characters(text, native).map(|text| text.trim_end_matches(' ').to_owned()),
        "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => characters(text, native),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            let fits = native.length.is_some_and(|most| text.len() <= most as usize) && text.is_ascii();
            fits.then(|| hex(text.as_bytes(), native))
        }
        "enum" => native.labels.iter().find(|label| *label == text).cloned(),
        "set" => members(text, native),
        "date" => is_date(text).then(|| text.to_owned()),
        "time" => is_time(text, native.digits).then(|| text.to_owned()),
        "datetime" => {
            let (date, time) = text.split_once(' ')?;
            (is_date(date) && is_time(time, native.digits)).then(|| text.to_owned())
        }
        _ => None,
    }
}

fn whole(text: &str, bits: u32, unsigned: bool) -> Option<String> {
    let number: i128 = text.parse().ok()?;
    let all = 1_i128 << bits;
    let range = if unsigned { 0..=all - 1 } else { -all / 2..=all / 2 - 1 };
    range.contains(&number).then(|| number.to_string())
}

/// Digits with a sign and a point, and no more of them than the type has.
fn decimal(text: &str, native: &ColumnNative) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (precision, scale) = native.precision.zip(native.scale)?;
    let before_fit = before.trim_start_matches('0').len() <= usize::from(precision - scale.min(precision));
    let fits = !before.is_empty()
        && are_digits(before)
        && are_digits(behind)
        && before_fit
        && behind.len() <= usize::from(scale);
    let is_allowed = !(native.unsigned && text.starts_with('-'));
    (fits && is_allowed)
        .then(|| if behind.is_empty() { text.trim_end_matches('.').to_owned() } else { text.to_owned() })
}

/// Not a word for infinity or none.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'))
}

fn characters(text: &str, native: &ColumnNative) -> Option<String> {
    let fits = native.length.is_some_and(|most| text.chars().count() <= most as usize);
    let has_them = match native.charset.as_deref() {
        Some("utf8mb4") => true,
        Some("utf8mb3" | "utf8") => text.chars().all(|c| u32::from(c) <= 0xFFFF),
        // Other letters are where ASCII has brackets.
        Some("swe7") => text.bytes().all(|byte| byte.is_ascii_digit()),
        _ => text.is_ascii(),
    };
    (fits && has_them && !text.contains('\0')).then(|| text.to_owned())
}

/// In the order of the type's labels, each once.
fn members(text: &str, native: &ColumnNative) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let places: Option<Vec<usize>> =
        text.split(',').map(|one| native.labels.iter().position(|label| label == one)).collect();
    places?.is_sorted_by(|a, b| a < b).then(|| text.to_owned())
}

/// Bytes as PostgreSQL, and most others, read them; of a fixed length they end with zeros.
fn hex(bytes: &[u8], native: &ColumnNative) -> String {
    let mut bytes = bytes.to_vec();
    if native.data_type == "binary" {
        bytes.resize(native.length.unwrap_or_default() as usize, 0);
    }
    bytes.iter().fold("\\x".to_owned(), |mut text, byte| {
        // Writing into a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn bits(text: &str, native: &ColumnNative) -> Option<String> {
    let length = usize::from(native.precision?);
    let number: u64 = text.parse().ok()?;
    let bits = format!("{number:0length$b}");
    (bits.len() == length).then_some(bits)
}

fn parts<const N: usize>(text: &str, sign: char, lengths: [usize; N]) -> Option<[u16; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(sign);
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next()?;
        let is_plain = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_plain)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// `YYYY-MM-DD`, a day that every calendar has.
fn is_date(text: &str) -> bool {
    let Some([year, month, day]) = parts(text, '-', [4, 2, 2]) else { return false };
    let (Ok(month), Ok(day)) = (month.try_into(), day.try_into()) else { return false };
    year > 0 && Date { year: year.into(), month, day }.days().is_some()
}

/// `HH:MM:SS`, a time of day, with no more digits behind than the type has.
fn is_time(text: &str, digits: u8) -> bool {
    let (clock, behind) = text.split_once('.').unwrap_or((text, ""));
    let is_clock = parts(clock, ':', [2, 2, 2])
        .is_some_and(|[hours, minutes, seconds]| hours < 24 && minutes < 60 && seconds < 60);
    is_clock && behind.len() <= usize::from(digits) && behind.bytes().all(|byte| byte.is_ascii_digit())
}
