//! A table's description in the form of the log's own, for what the log does not say itself.

use bytes::{BufMut, BytesMut};

use super::numbers::Numbered;

/// What a Relation message says, besides the columns.
pub(super) struct Heading<'a> {
    pub(super) relation: u32,
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
    /// `pg_class.relreplident`.
    pub(super) identity: &'a str,
}

/// The Relation message of a table with these columns, each with whether it is part of the replica identity.
pub(super) fn relation<'a>(
    heading: &Heading<'_>,
    columns: impl ExactSizeIterator<Item = (&'a Numbered, bool)>,
) -> Vec<u8> {
    let mut message = BytesMut::new();
    message.put_u8(b'R');
    message.put_u32(heading.relation);
    put_text(&mut message, heading.schema);
    put_text(&mut message, heading.name);
    message.put_slice(heading.identity.as_bytes());
    message.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
    for (column, key) in columns {
        message.put_u8(u8::from(key));
        put_text(&mut message, &column.name);
        message.put_u32(column.type_id);
        message.put_i32(column.modifier);
    }
    message.to_vec()
}

fn put_text(message: &mut BytesMut, text: &str) {
    message.put_slice(text.as_bytes());
    message.put_u8(0);
}
