//! What `information_schema.columns` says of defaults: MySQL and MariaDB (from 10.2.7 on) write them differently.

use serde::{Deserialize, Serialize};
use wavemark_domain::extras::DefaultValue;
use wavemark_domain::{Column, Logical};

use crate::encoding;
use crate::native::unquoted;

/// Which system wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dialect {
    Mysql,
    Mariadb,
}

impl Dialect {
    /// The system, by its version as the server says it.
    pub(crate) fn of(version: &str) -> Self {
        if version.contains("MariaDB") { Self::Mariadb } else { Self::Mysql }
    }
}

/// The default of a column, if it is a plain value or the present moment. `text` is `COLUMN_DEFAULT` (none for NULL),
/// `data_type` the column's in lower case, `extra` in upper case.
pub(crate) fn of(dialect: Dialect, text: Option<&str>, data_type: &str, extra: &str) -> Option<DefaultValue> {
    let text = text?;
    let literal = |text: String| Some(DefaultValue::Literal { text });
    if matches!(data_type, "datetime" | "timestamp")
        && let Some(digits) = now(text)
    {
        return Some(DefaultValue::Now { digits });
    }
    match dialect {
        Dialect::Mysql if extra.contains("DEFAULT_GENERATED") => None,
        Dialect::Mysql => literal(text.to_owned()),
        Dialect::Mariadb if text.starts_with('\'') => unquoted(text).and_then(literal),
        Dialect::Mariadb if data_type == "bit" && text.starts_with("b'") => literal(text.to_owned()),
        // Of bytes from version 11 on; before, as a text.
        Dialect::Mariadb if text.starts_with("x'") => {
            let digits = text[2..].strip_suffix('\'')?;
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_plain.then(|| format!("0x{digits}")).and_then(literal)
        }
        // NULL, and expressions, begin otherwise.
        Dialect::Mariadb => text.parse::<f64>().ok().filter(|number| number.is_finite()).and(literal(text.to_owned())),
    }
}

/// The default of a column as systems tell it each other; none of one that its own system writes in another way than it should.
pub(crate) fn in_common_words(default: &DefaultValue, column: &Column) -> Option<DefaultValue> {
    let DefaultValue::Literal { text } = default else { return Some(default.clone()) };
    let text = match encoding::logical(column) {
        Some(Logical::Bits { length }) => {
            let bits = text.strip_prefix("b'")?.strip_suffix('\'')?;
            format!("{bits:0>width$}", width = length.into())
        }
        Some(Logical::Bytes) => text.strip_prefix("0x")?.to_ascii_lowercase(),
        _ => text.clone(),
    };
    Some(DefaultValue::Literal { text })
}

/// The digits of `CURRENT_TIMESTAMP`, `CURRENT_TIMESTAMP(3)` or `current_timestamp()`.
fn now(text: &str) -> Option<u8> {
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("current_timestamp")? {
        "" | "()" => Some(0),
        digits => digits.strip_prefix('(')?.strip_suffix(')')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> DefaultValue {
        DefaultValue::Literal { text: text.to_owned() }
    }

    #[test]
    fn mysql_gives_the_bare_value_and_marks_expressions() {
        let of = |text, data_type, extra| of(Dialect::Mysql, Some(text), data_type, extra);
        assert_eq!(of("it's \\ a", "varchar", ""), Some(literal("it's \\ a")));
        assert_eq!(of("", "varchar", ""), Some(literal("")));
        assert_eq!(of("NULL", "varchar", ""), Some(literal("NULL")));
        assert_eq!(of("CURRENT_TIMESTAMP", "varchar", ""), Some(literal("CURRENT_TIMESTAMP")));
        assert_eq!(of("-1.50", "decimal", ""), Some(literal("-1.50")));
        assert_eq!(of("(1 + 2)", "int", "DEFAULT_GENERATED"), None);
        assert_eq!(of("_utf8mb4\\'abc\\'", "text", "DEFAULT_GENERATED"), None);
        let on_update = "DEFAULT_GENERATED ON UPDATE CURRENT_TIMESTAMP(3)";
        assert_eq!(of("CURRENT_TIMESTAMP(3)", "datetime", on_update), Some(DefaultValue::Now { digits: 3 }));
        assert_eq!(of("CURRENT_TIMESTAMP", "timestamp", ""), Some(DefaultValue::Now { digits: 0 }));
        assert_eq!(super::of(Dialect::Mysql, None, "varchar", ""), None);
    }

    #[test]
    fn mariadb_quotes_values_and_gives_expressions_bare() {
        let of = |text, data_type| of(Dialect::Mariadb, Some(text), data_type, "");
        assert_eq!(of(r"'it''s \\ a\nb'", "varchar"), Some(literal("it's \\ a\nb")));
        assert_eq!(of("''", "varchar"), Some(literal("")));
        assert_eq!(of("NULL", "varchar"), None);
        assert_eq!(of("'NULL'", "varchar"), Some(literal("NULL")));
        assert_eq!(of("-1.50", "decimal"), Some(literal("-1.50")));
        assert_eq!(of("000042", "int"), Some(literal("000042")));
        assert_eq!(of("1e100", "double"), Some(literal("1e100")));
        assert_eq!(of("(1 + 2)", "int"), None);
        assert_eq!(of("'a' like 'b'", "varchar"), None);
        assert_eq!(of("b'101'", "bit"), Some(literal("b'101'")));
        assert_eq!(of("b'101'", "int"), None);
        assert_eq!(of("x'00ff41'", "varbinary"), Some(literal("0x00ff41")));
        assert_eq!(of("x'00' or 'b'", "varbinary"), None);
        assert_eq!(of("uuid()", "uuid"), None);
        assert_eq!(of("current_timestamp()", "timestamp"), Some(DefaultValue::Now { digits: 0 }));
        assert_eq!(of("current_timestamp(6)", "datetime"), Some(DefaultValue::Now { digits: 6 }));
        assert_eq!(of("current_timestamp()", "date"), None);
    }

    #[test]
    fn the_system_is_known_by_its_version() {
        assert_eq!(Dialect::of("5.5.5-10.11.19-MariaDB-0+deb12u1"), Dialect::Mariadb);
        assert_eq!(Dialect::of("9.7.4-2"), Dialect::Mysql);
    }
}
