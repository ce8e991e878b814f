//! Values from the form that they travel in, one after the other.

use std::io::Write as _;

use wavemark_domain::Encoding;
use wavemark_domain::moment::{Date, Timestamp};

use super::escape::Style;
use super::holds::{Float, Holds};
use super::unfit::Unfit;
use super::{decimals, json, moments, text};

/// What the bytes of a value mean: the encodings of `domain::logical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Boolean,
    Int16,
    Int32,
    Int64,
    Uint64,
    Decimal,
    Float32,
    Float64,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    Instant,
    Uuid,
    Json,
    Enum,
    Set,
    Bits,
}

impl Form {
    pub(super) fn of(encoding: &Encoding) -> Option<Self> {
        Some(match encoding.name().strip_prefix("canonical ")? {
            "boolean" => Self::Boolean,
            "int16" => Self::Int16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "uint64" => Self::Uint64,
            "decimal" => Self::Decimal,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            "text" => Self::Text,
            "bytes" => Self::Bytes,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "instant" => Self::Instant,
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "enum" => Self::Enum,
            "set" => Self::Set,
            "bits" => Self::Bits,
            _ => return None,
        })
    }

    pub(super) fn is_whole(self) -> bool {
        matches!(self, Self::Boolean | Self::Int16 | Self::Int32 | Self::Int64 | Self::Uint64)
    }
}

/// Writes a value behind what `out` has. What stands behind after an error is no value.
pub(super) fn value(form: Form, holds: &Holds, value: &[u8], style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
    match holds {
        Holds::Whole { least, most } => whole(form, value, *least, *most, out),
        Holds::Year => year(value, style, out),
        Holds::Decimal { whole, scale, unsigned } if form == Form::Decimal => {
            decimals::write(value, *whole, *scale, *unsigned, out)
        }
        Holds::Decimal { whole, scale, unsigned } => {
            let mut digits = Vec::with_capacity(20);
            self::whole(form, value, i64::MIN, u64::MAX, &mut digits)?;
            decimals::write(&digits, *whole, *scale, *unsigned, out)
        }
        Holds::Float { kind, unsigned } => float(form, value, *kind, *unsigned, out),
        Holds::Text(limits) => text::write(form, value, *limits, style, out),
        Holds::Address => text::write_any(value, style, out),
        Holds::Label { labels, charset } => text::label(value, labels, *charset, style, out),
        Holds::Labels { labels, charset } => text::labels(value, labels, *charset, style, out),
        Holds::Bytes { most, fixed } => bytes(value, *most, *fixed, style, out),
        Holds::Bits { length } => bits(value, *length, style, out),
        Holds::Date => {
            let date = Date::from_bytes(value).ok_or(Unfit::Misshapen)?;
            style.plain(|out| moments::date(date, out), out)
        }
        Holds::Datetime { digits } => {
            let moment = Timestamp::from_bytes(value).ok_or(Unfit::Misshapen)?;
            style.plain(|out| moments::datetime(moment, *digits, out), out)
        }
        Holds::Timestamp { digits, dialect } => {
            let moment = Timestamp::from_bytes(value).ok_or(Unfit::Misshapen)?;
            moments::must_be_timestamp(moment, *dialect)?;
            style.plain(|out| moments::datetime(moment, *digits, out), out)
        }
        Holds::Time { digits, dialect } => {
            let micros = i64::from_be_bytes(array(value)?);
            style.plain(|out| moments::time(micros, *digits, *dialect, out), out)
        }
        Holds::Json => json_value(value, style, out),
        Holds::Uuid => style.plain(|out| text::uuid(value, out), out),
    }
}

pub(super) fn array<const N: usize>(value: &[u8]) -> Result<[u8; N], Unfit> {
    value.try_into().map_err(|_| Unfit::Misshapen)
}

/// Writes what `write!` can't fail to write into memory.
macro_rules! put {
    ($out:expr, $($format:tt)*) => {
        write!($out, $($format)*).map_err(|_| Unfit::Misshapen)
    };
}

fn whole(form: Form, value: &[u8], least: i64, most: u64, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let number = match form {
        Form::Boolean => match value {
            [bit @ (0 | 1)] => i64::from(*bit),
            _ => return Err(Unfit::Misshapen),
        },
        Form::Int16 => i16::from_be_bytes(array(value)?).into(),
        Form::Int32 => i32::from_be_bytes(array(value)?).into(),
        Form::Int64 => i64::from_be_bytes(array(value)?),
        _ => {
            let number = u64::from_be_bytes(array(value)?);
            return if number <= most { put!(out, "{number}") } else { Err(Unfit::OutOfRange) };
        }
    };
    let fits = number >= least && u64::try_from(number).map_or(true, |number| number <= most);
    if fits { put!(out, "{number}") } else { Err(Unfit::OutOfRange) }
}

/// With all of its digits: `0` would be the year 2000.
fn year(value: &[u8], style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let year = i16::from_be_bytes(array(value)?);
    if year != 0 && !(1901..=2155).contains(&year) {
        return Err(Unfit::OutOfRange);
    }
    style.plain(|out| put!(out, "{year:04}"), out)
}

/// With as many digits as bring the same bits back; a float goes as the double that it is, which rounds to itself.
fn float(form: Form, value: &[u8], kind: Float, unsigned: bool, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let number = match form {
        Form::Float32 => f64::from(f32::from_be_bytes(array(value)?)),
        _ => f64::from_be_bytes(array(value)?),
    };
    if !number.is_finite() {
        return Err(Unfit::NotANumber);
    }
    if unsigned && number < 0.0 {
        return Err(Unfit::OutOfRange);
    }
    if number == 0.0 && number.is_sign_negative() && !kind.has_negative_zero {
        return Err(Unfit::NegativeZero);
    }
    if let Some(scale) = kind.scale {
        let rounded: f64 = format!("{number:.scale$}").parse().map_err(|_| Unfit::Misshapen)?;
        let same = if kind.single { same_single(rounded, number) } else { rounded.to_bits() == number.to_bits() };
        if !same {
            return Err(Unfit::Rounded);
        }
    }
    put!(out, "{number:e}")
}

#[expect(clippy::cast_possible_truncation, reason = "that is what the server does, and what is compared")]
fn same_single(one: f64, other: f64) -> bool {
    (one as f32).to_bits() == (other as f32).to_bits()
}

fn bytes(value: &[u8], most: usize, fixed: bool, style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if value.len() > most {
        return Err(Unfit::TooLong);
    }
    if fixed && value.len() < most {
        return Err(Unfit::TooShort);
    }
    style.bytes(value, out);
    Ok(())
}

/// As bytes in a field, and as a number in a statement: bytes there would be compared otherwise than they are stored.
fn bits(value: &[u8], length: u16, style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let zeros = value.iter().take_while(|byte| **byte == 0).count();
    let used = &value[zeros..];
    let mut wide = [0; 8];
    wide.get_mut(8_usize.saturating_sub(used.len())..)
        .filter(|place| place.len() == used.len())
        .ok_or(Unfit::TooLong)?
        .copy_from_slice(used);
    let number = u64::from_be_bytes(wide);
    if number.leading_zeros() < 64_u32.saturating_sub(length.into()) {
        return Err(Unfit::TooLong);
    }
    match style {
        Style::Field => {
            let fewest = usize::from(length).div_ceil(8).clamp(1, 8);
            style.bytes(&wide[8 - fewest..], out);
            Ok(())
        }
        Style::Literal => put!(out, "{number}"),
    }
}

fn json_value(value: &[u8], style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
    json::must_be_kept(value)?;
    match style {
        Style::Field => style.text(value, out),
        Style::Literal => {
            out.extend_from_slice(b"CAST(");
            style.text(value, out);
            out.extend_from_slice(b" AS JSON)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::defaults::Dialect;
    use crate::native::ColumnNative;

    const TYPES: [&str; 31] = [
        "tinyint",
        "smallint",
        "mediumint",
        "int",
        "bigint",
        "year",
        "decimal",
        "float",
        "double",
        "bit",
        "json",
        "char",
        "varchar",
        "tinytext",
        "text",
        "longtext",
        "binary",
        "varbinary",
        "blob",
        "longblob",
        "date",
        "datetime",
        "timestamp",
        "time",
        "enum",
        "set",
        "uuid",
        "inet4",
        "inet6",
        "geometry",
        "vector",
    ];
    const FORMS: [&str; 19] = [
        "boolean",
        "int16",
        "int32",
        "int64",
        "uint64",
        "decimal",
        "float32",
        "float64",
        "text",
        "bytes",
        "date",
        "time",
        "timestamp",
        "instant",
        "uuid",
        "json",
        "enum",
        "set",
        "bits",
    ];

    fn native() -> impl Strategy<Value = ColumnNative> {
        let charset = prop::option::of(prop::sample::select(vec!["utf8mb4", "utf8mb3", "ascii", "latin1"]));
        let numbers = (any::<bool>(), prop::option::of(any::<u32>()), prop::option::of(0..70_u16), 0..9_u8);
        (prop::sample::select(TYPES.to_vec()), charset, numbers, prop::option::of(0..40_u16)).prop_map(
            |(data_type, charset, (unsigned, length, precision, digits), scale)| ColumnNative {
                data_type: data_type.to_owned(),
                unsigned,
                length,
                precision,
                scale,
                digits,
                labels: vec!["a".to_owned(), "1".to_owned()],
                charset: charset.map(str::to_owned),
                ..ColumnNative::default()
            },
        )
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            native in native(),
            form in prop::sample::select(FORMS.to_vec()),
            is_mysql: bool,
            bytes in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let dialect = if is_mysql { Dialect::Mysql } else { Dialect::Mariadb };
            let form = Form::of(&serde_json::from_value(format!("canonical {form}").into()).unwrap()).unwrap();
            if let Some(holds) = Holds::of(&native, dialect) {
                for style in [Style::Field, Style::Literal] {
                    let _ = value(form, &holds, &bytes, style, &mut Vec::new());
                }
                holds.takes(form);
            }
        }
    }
}
