//! The other direction, for tests: written from the manual's formats, not from the decoder.

/// A cell to encode.
#[derive(Clone, Debug)]
pub(super) enum CellSpec {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

/// A column to encode: flags, name, type, modifier.
pub(super) type ColumnSpec = (bool, String, u32, i32);

/// Builds a message field by field.
#[derive(Default)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub(super) fn new(tag: u8) -> Self {
        Self(vec![tag])
    }

    /// The transaction number that streamed changes carry.
    pub(super) fn xid(self, xid: Option<u32>) -> Self {
        match xid {
            Some(xid) => self.int32(xid),
            None => self,
        }
    }

    pub(super) fn int8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn int16(mut self, value: usize) -> Self {
        self.0.extend(i16::try_from(value).unwrap().to_be_bytes());
        self
    }

    pub(super) fn int32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn int64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn string(mut self, text: &str) -> Self {
        self.0.extend(text.as_bytes());
        self.int8(0)
    }

    pub(super) fn counted(mut self, bytes: &[u8]) -> Self {
        self = self.int32(u32::try_from(bytes.len()).unwrap());
        self.0.extend(bytes);
        self
    }

    pub(super) fn tuple(self, cells: &[CellSpec]) -> Self {
        cells.iter().fold(self.int16(cells.len()), |encoder, cell| match cell {
            CellSpec::Null => encoder.int8(b'n'),
            CellSpec::Unchanged => encoder.int8(b'u'),
            CellSpec::Text(bytes) => encoder.int8(b't').counted(bytes),
            CellSpec::Binary(bytes) => encoder.int8(b'b').counted(bytes),
        })
    }

    pub(super) fn columns(self, columns: &[ColumnSpec]) -> Self {
        columns.iter().fold(self.int16(columns.len()), |encoder, (key, name, type_id, modifier)| {
            encoder.int8(u8::from(*key)).string(name).int32(*type_id).int32(modifier.cast_unsigned())
        })
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}
