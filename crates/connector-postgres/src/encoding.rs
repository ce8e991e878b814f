//! The forms in which this system's values travel.

use wavemark_domain::Encoding;

/// The type's own binary form, as its `send` function writes it: in COPY BINARY and in pgoutput alike. Always the
/// form of the column's declared type, so both sides need to agree on the type.
pub const BINARY: Encoding = Encoding::named("postgresql binary");

/// The name of a stream of rows as `COPY … (FORMAT binary)` writes it, header and trailer included.
pub const COPY_BINARY: &str = "postgresql copy binary";
