//! What a column of each type can have.

use super::write::Form;
use crate::defaults::Dialect;
use crate::encoding::is_shape;
use crate::native::ColumnNative;

/// What may be in a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Holds {
    Whole {
        least: i64,
        most: u64,
    },
    Year,
    /// Digits before the point and behind it.
    Decimal {
        whole: usize,
        scale: usize,
        unsigned: bool,
    },
    Float {
        kind: Float,
        unsigned: bool,
    },
    Text(Text),
    Bytes {
        most: usize,
        fixed: bool,
    },
    Bits {
        length: u16,
    },
    Date,
    /// Digits behind the second's point.
    Datetime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
        dialect: Dialect,
    },
    Time {
        digits: u8,
        dialect: Dialect,
    },
    /// MySQL's; MariaDB's is a text.
    Json,
    Label {
        labels: Vec<String>,
        charset: Charset,
    },
    Labels {
        labels: Vec<String>,
        charset: Charset,
    },
    /// MariaDB's `uuid`.
    Uuid,
    /// MariaDB's `inet4` and `inet6`, as text.
    Address,
}

/// A floating point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Float {
    pub(super) single: bool,
    /// Digits behind the point that it rounds to, of `float(7,3)`.
    pub(super) scale: Option<usize>,
    /// MariaDB stores -0 as 0.
    pub(super) has_negative_zero: bool,
}

/// A type of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// The most characters; of `text` and its like the most bytes are told instead.
    pub(super) characters: Option<usize>,
    pub(super) bytes: Option<usize>,
    pub(super) charset: Charset,
    /// Whether blanks at the end are lost.
    pub(super) is_trimmed: bool,
}

/// Which characters a text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8mb4,
    /// Those of up to three bytes in UTF-8.
    Utf8mb3,
    Ascii,
    /// The server converts, and refuses what it can't.
    Other,
}

impl Holds {
    /// By the type as the server tells it; `None` for one that nothing is written to.
    pub(super) fn of(native: &ColumnNative, dialect: Dialect) -> Option<Self> {
        let unsigned = native.unsigned;
        let length = native.length.map_or(usize::MAX, |length| length as usize);
        let whole = |bits: u32| {
            let most = u64::MAX >> (64 - bits);
            let (least, most) = if unsigned { (0, most) } else { (-1 - i64::try_from(most >> 1).ok()?, most >> 1) };
            Some(Self::Whole { least, most })
        };
        let float = |single| {
            let scale = native.scale.map(usize::from);
            let kind = Float { single, scale, has_negative_zero: dialect == Dialect::Mysql };
            Some(Self::Float { kind, unsigned })
        };
        let charset = || native.charset.as_deref().map(Charset::named);
        let labels = native.labels.clone();
        match native.data_type.as_str() {
            "tinyint" => whole(8),
            "smallint" => whole(16),
            "mediumint" => whole(24),
            "int" => whole(32),
            "bigint" => whole(64),
            "year" => Some(Self::Year),
            "decimal" => {
                let (digits, scale) = (usize::from(native.precision?), usize::from(native.scale.unwrap_or(0)));
                Some(Self::Decimal { whole: digits.checked_sub(scale)?, scale, unsigned })
            }
            "float" => float(true),
            "double" => float(false),
            "bit" => Some(Self::Bits { length: native.precision.unwrap_or(1) }),
            // MariaDB's is a text with a check.
            "json" if dialect == Dialect::Mysql => Some(Self::Json),
            "json" => Some(Self::Text(Text::unlimited())),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => match charset() {
                Some(charset) => Some(Self::Text(Text::of(native, charset))),
                None => Some(Self::Bytes { most: length, fixed: native.data_type == "char" }),
            },
            "binary" => Some(Self::Bytes { most: length, fixed: true }),
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                Some(Self::Bytes { most: length, fixed: false })
            }
            // What is none of the type, or of another length, the server refuses.
            "vector" => Some(Self::Bytes { most: usize::MAX, fixed: false }),
            shape if is_shape(shape) => Some(Self::Bytes { most: usize::MAX, fixed: false }),
            "date" => Some(Self::Date),
            "datetime" => Some(Self::Datetime { digits: native.digits }),
            "timestamp" => Some(Self::Timestamp { digits: native.digits, dialect }),
            "time" => Some(Self::Time { digits: native.digits, dialect }),
            "enum" => Some(Self::Label { labels, charset: charset()? }),
            "set" => Some(Self::Labels { labels, charset: charset()? }),
            "uuid" => Some(Self::Uuid),
            "inet4" | "inet6" => Some(Self::Address),
            _ => None,
        }
    }

    /// Whether values that come in this form may be written to it, as far as each of them fits.
    pub(super) fn takes(&self, form: Form) -> bool {
        match self {
            Self::Whole { .. } | Self::Decimal { .. } if form.is_whole() => true,
            Self::Year => form == Form::Int16,
            Self::Decimal { .. } => form == Form::Decimal,
            Self::Float { kind, .. } => form == Form::Float32 || form == Form::Float64 && !kind.single,
            Self::Text(_) => {
                matches!(form, Form::Text | Form::Json | Form::Enum | Form::Set | Form::Decimal | Form::Uuid)
            }
            Self::Bytes { most, fixed } => {
                matches!(form, Form::Bytes | Form::Bits) || form == Form::Uuid && *fixed && *most == 16
            }
            Self::Bits { .. } => form == Form::Bits,
            Self::Date => form == Form::Date,
            Self::Datetime { .. } => matches!(form, Form::Timestamp | Form::Instant),
            Self::Timestamp { .. } => form == Form::Instant,
            Self::Time { .. } => form == Form::Time,
            Self::Json => form == Form::Json,
            Self::Label { .. } => matches!(form, Form::Enum | Form::Text),
            Self::Labels { .. } => form == Form::Set,
            Self::Uuid => form == Form::Uuid,
            Self::Address => form == Form::Text,
            Self::Whole { .. } => false,
        }
    }

    /// Whether a field of it is text to be converted, rather than bytes to be taken as they are.
    pub(super) fn is_converted(&self) -> bool {
        match self {
            Self::Json | Self::Uuid | Self::Address => true,
            Self::Text(Text { charset, .. }) | Self::Label { charset, .. } | Self::Labels { charset, .. } => {
                *charset == Charset::Other
            }
            _ => false,
        }
    }
}

impl Text {
    fn of(native: &ColumnNative, charset: Charset) -> Self {
        let length = native.length.map(|length| length as usize);
        let counts_characters = matches!(native.data_type.as_str(), "char" | "varchar");
        let (characters, bytes) = if counts_characters { (length, None) } else { (None, length) };
        Self { characters, bytes, charset, is_trimmed: native.data_type == "char" }
    }

    fn unlimited() -> Self {
        Self { characters: None, bytes: None, charset: Charset::Utf8mb4, is_trimmed: false }
    }
}

impl Charset {
    fn named(name: &str) -> Self {
        match name {
            "utf8mb4" => Self::Utf8mb4,
            "utf8mb3" | "utf8" => Self::Utf8mb3,
            "ascii" => Self::Ascii,
            _ => Self::Other,
        }
    }
}
