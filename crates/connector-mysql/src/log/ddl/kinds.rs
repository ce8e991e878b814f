//! Types by all of their names, as `information_schema` tells them.

use super::Modes;
use super::rest::Rest;
use super::tokens::Token;
use crate::native::ColumnNative;

/// A column's type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Without a character set: that depends on the table.
    pub(crate) native: ColumnNative,
    /// As the server declares it.
    pub(crate) declared: String,
    /// MariaDB's JSON is a text.
    pub(crate) is_json: bool,
}

/// Reads a type; `None` if it is not known.
pub(super) fn read(rest: &mut Rest<'_>, modes: Modes) -> Option<Kind> {
    let Token::Word(word) = rest.next()? else { return None };
    let mut kind = named(&word.to_ascii_uppercase(), rest, modes)?;
    let is_number = matches!(
        kind.native.data_type.as_str(),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double"
    );
    if is_number {
        sign(rest, &mut kind);
    }
    Some(kind)
}

/// What stands behind a number's type. One that is filled with zeros has no sign.
fn sign(rest: &mut Rest<'_>, kind: &mut Kind) {
    let mut is_filled = false;
    loop {
        if rest.words(&["UNSIGNED"]) {
            kind.native.unsigned = true;
        } else if rest.words(&["ZEROFILL"]) {
            kind.native.unsigned = true;
            is_filled = true;
        } else if !rest.words(&["SIGNED"]) {
            break;
        }
    }
    if kind.native.unsigned {
        kind.declared.push_str(if is_filled { " unsigned zerofill" } else { " unsigned" });
    }
}

fn named(word: &str, rest: &mut Rest<'_>, modes: Modes) -> Option<Kind> {
    match word {
        "TINYINT" | "INT1" => whole("tinyint", rest),
        "SMALLINT" | "INT2" => whole("smallint", rest),
        "MEDIUMINT" | "INT3" | "MIDDLEINT" => whole("mediumint", rest),
        "INT" | "INTEGER" | "INT4" => whole("int", rest),
        "BIGINT" | "INT8" => whole("bigint", rest),
        "BOOL" | "BOOLEAN" => Some(kind("tinyint", "tinyint(1)")),
        "DECIMAL" | "DEC" | "NUMERIC" | "FIXED" => decimal(rest),
        "FLOAT" | "FLOAT4" => float(rest),
        "DOUBLE" | "FLOAT8" => double(rest),
        "REAL" if !modes.real_as_float => double(rest),
        "BIT" => {
            let bits = length(rest, 1)?;
            Some(with(kind("bit", &format!("bit({bits})")), |native| native.precision = u16::try_from(bits).ok()))
        }
        "DATE" => Some(kind("date", "date")),
        "YEAR" => {
            let digits = length(rest, 4)?;
            (digits == 4).then(|| kind("year", "year"))
        }
        "TIME" => moment("time", rest),
        "DATETIME" => moment("datetime", rest),
        "TIMESTAMP" => moment("timestamp", rest),
        "CHAR" | "CHARACTER" if rest.words(&["VARYING"]) => sized("varchar", rest, None),
        "CHAR" | "CHARACTER" if rest.upper() != "BYTE" => sized("char", rest, Some(1)),
        "VARCHAR" => sized("varchar", rest, None),
        "BINARY" => sized("binary", rest, Some(1)),
        "VARBINARY" => sized("varbinary", rest, None),
        "ENUM" => labelled("enum", rest),
        "SET" => labelled("set", rest),
        "JSON" => Some(Kind { is_json: true, ..kind("json", "json") }),
        "UUID" => Some(kind("uuid", "uuid")),
        "VECTOR" => {
            let dimensions = length(rest, 2_048)?;
            Some(kind("vector", &format!("vector({dimensions})")))
        }
        _ => large(word).filter(|_| !rest.is_sign('(')),
    }
}

/// Texts and bytes whose length is their type's, and shapes.
fn large(word: &str) -> Option<Kind> {
    let name = word.to_ascii_lowercase();
    let length = match word {
        "TINYTEXT" | "TINYBLOB" => 255,
        "TEXT" | "BLOB" => 65_535,
        "MEDIUMTEXT" | "MEDIUMBLOB" => 16_777_215,
        "LONGTEXT" | "LONGBLOB" => u32::MAX,
        "INET4" | "INET6" | "GEOMETRY" | "POINT" | "LINESTRING" | "POLYGON" | "MULTIPOINT" | "MULTILINESTRING"
        | "MULTIPOLYGON" | "GEOMETRYCOLLECTION" | "GEOMCOLLECTION" => return Some(kind(&name, &name)),
        _ => return None,
    };
    Some(with(kind(&name, &name), |native| native.length = Some(length)))
}

fn kind(data_type: &str, declared: &str) -> Kind {
    let native = ColumnNative { data_type: data_type.to_owned(), ..ColumnNative::default() };
    Kind { native, declared: declared.to_owned(), ..Kind::default() }
}

fn with(mut kind: Kind, set: impl FnOnce(&mut ColumnNative)) -> Kind {
    set(&mut kind.native);
    kind
}

/// How wide a number is shown says nothing of it.
fn whole(name: &str, rest: &mut Rest<'_>) -> Option<Kind> {
    length(rest, 0)?;
    Some(kind(name, name))
}

/// What stands in brackets, if there are some.
fn length(rest: &mut Rest<'_>, otherwise: u32) -> Option<u32> {
    if !rest.sign('(') {
        return Some(otherwise);
    }
    let length = rest.number()?;
    rest.sign(')').then_some(length)
}

/// Numbers in brackets, up to two.
fn digits(rest: &mut Rest<'_>) -> Option<Vec<u16>> {
    if !rest.sign('(') {
        return Some(Vec::new());
    }
    let mut numbers = vec![u16::try_from(rest.number()?).ok()?];
    if rest.sign(',') {
        numbers.push(u16::try_from(rest.number()?).ok()?);
    }
    rest.sign(')').then_some(numbers)
}

fn decimal(rest: &mut Rest<'_>) -> Option<Kind> {
    let digits = digits(rest)?;
    let precision = digits.first().copied().filter(|precision| *precision > 0).unwrap_or(10);
    let scale = digits.get(1).copied().unwrap_or(0);
    (scale <= precision).then(|| {
        with(kind("decimal", &format!("decimal({precision},{scale})")), |native| {
            native.precision = Some(precision);
            native.scale = Some(scale);
        })
    })
}

/// With one number in brackets it is as exact as that says; with two it rounds.
fn float(rest: &mut Rest<'_>) -> Option<Kind> {
    Some(match digits(rest)?[..] {
        [] | [0..=24] => kind("float", "float"),
        [25..=53] => kind("double", "double"),
        [all, behind] => rounded("float", all, behind),
        _ => return None,
    })
}

fn double(rest: &mut Rest<'_>) -> Option<Kind> {
    rest.words(&["PRECISION"]);
    Some(match digits(rest)?[..] {
        [] => kind("double", "double"),
        [all, behind] => rounded("double", all, behind),
        _ => return None,
    })
}

/// One that rounds to so many digits.
fn rounded(name: &str, all: u16, behind: u16) -> Kind {
    with(kind(name, &format!("{name}({all},{behind})")), |native| {
        native.precision = Some(all);
        native.scale = Some(behind);
    })
}

fn moment(name: &str, rest: &mut Rest<'_>) -> Option<Kind> {
    let digits = u8::try_from(length(rest, 0)?).ok().filter(|digits| *digits <= 6)?;
    let declared = if digits == 0 { name.to_owned() } else { format!("{name}({digits})") };
    Some(with(kind(name, &declared), |native| native.digits = digits))
}

/// One that is longer than a row may be is made another type, if the mode lets it.
fn sized(name: &str, rest: &mut Rest<'_>, otherwise: Option<u32>) -> Option<Kind> {
    let length = if rest.is_sign('(') { length(rest, 0)? } else { otherwise? };
    let most = if matches!(name, "char" | "binary") { 255 } else { 16_383 };
    (length <= most).then(|| with(kind(name, &format!("{name}({length})")), |native| native.length = Some(length)))
}

fn labelled(name: &str, rest: &mut Rest<'_>) -> Option<Kind> {
    rest.sign('(').then_some(())?;
    let mut labels = Vec::new();
    loop {
        let Token::Text(label) = rest.next()? else { return None };
        // The server takes blanks off the end of each.
        labels.push(label.trim_end_matches(' ').to_owned());
        if rest.sign(')') {
            break;
        }
        rest.sign(',').then_some(())?;
    }
    let quoted: Vec<String> = labels.iter().map(|label| format!("'{}'", label.replace('\'', "''"))).collect();
    let declared = format!("{name}({})", quoted.join(","));
    Some(with(kind(name, &declared), |native| native.labels = labels))
}
