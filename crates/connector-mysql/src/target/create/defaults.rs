//! The defaults of a new table's columns, as the server takes them.

use wavemark_domain::Column;
use wavemark_domain::extras::DefaultValue;

use super::server::Server;
use crate::defaults::Dialect;
use crate::encoding::is_shape;
use crate::native::ColumnNative;
use crate::sql::literal;
use crate::target::values::keeps_json;

/// A default that the server takes as it stands. What acts when a row is updated is never made: the log has what it did.
pub(super) fn default(column: &Column, native: &ColumnNative, server: &Server) -> Option<String> {
    let is_moment = matches!(native.data_type.as_str(), "timestamp" | "datetime");
    let default = match native.default.as_ref() {
        // The session that inserts says what time it is, in its own time zone.
        Some(DefaultValue::Now { .. }) if native.in_utc => {
            server.takes_expressions().then(|| format!("(UTC_TIMESTAMP({}))", native.digits))
        }
        Some(DefaultValue::Now { digits }) if is_moment && *digits == native.digits => Some(match digits {
            0 => "CURRENT_TIMESTAMP".to_owned(),
            digits => format!("CURRENT_TIMESTAMP({digits})"),
        }),
        Some(DefaultValue::Literal { text }) => constant(text, native, server),
        _ => None,
    };
    // Such servers give the first timestamp of a table the present moment, at every update.
    let is_given = native.data_type == "timestamp" && column.not_null && !server.has_explicit_defaults;
    default.or_else(|| is_given.then(|| "0".to_owned()))
}

fn constant(text: &str, native: &ColumnNative, server: &Server) -> Option<String> {
    let is_bits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0' | b'1'));
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match native.data_type.as_str() {
        "bit" => text.strip_prefix("b'")?.strip_suffix('\'').filter(|bits| is_bits(bits)).map(|_| text.to_owned()),
        // Discovery and declarations have those of bytes so.
        "binary" | "varbinary" => text.strip_prefix("0x").filter(|hex| is_hex(hex)).map(|hex| format!("X'{hex}'")),
        long if long.ends_with("blob") => {
            let hex = text.strip_prefix("0x").filter(|hex| is_hex(hex))?;
            of_any_length(format!("X'{hex}'"), server)
        }
        long if long.ends_with("text") => of_any_length(literal(text), server),
        "json" => of_any_length(literal(text), server).filter(|_| keeps_json(text, server.dialect)),
        "vector" => None,
        shape if is_shape(shape) => None,
        _ => Some(literal(text)),
    }
}

/// The default of a column whose values may be of any length: MySQL takes it as an expression alone.
fn of_any_length(value: String, server: &Server) -> Option<String> {
    let value = if server.dialect == Dialect::Mysql { format!("({value})") } else { value };
    server.takes_expressions().then_some(value)
}
