//! Row messages that are larger than the task allows: told by their beginning, before anything of them is held.
//!
//! A message of a transaction in progress is kept in a form of its own until that commits: [`MARK`], the number of the
//! subtransaction, the size, the message's kind and what follows the subtransaction's number.

use wavemark_domain::task::TaskSettings;
use wavemark_domain::{Fault, Problem, TableName};

/// Begins the kept form; no message of the log begins so.
pub(super) const MARK: u8 = b'!';

/// Beside a field of as many MiB as a row may have there is room for its key and some more.
const ROOM: usize = 64 << 10;

/// The size of a row message, in bytes, above which it is refused.
pub(super) fn most(settings: &TaskSettings) -> usize {
    ((settings.row_mib as usize) << 20) + ROOM
}

/// A row that is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oversized {
    /// The relation that it is of.
    pub(super) relation: u32,
    /// Bytes of its message.
    pub(super) size: u64,
    /// The column, by its place in the relation, in which the shown part ends, and the bytes of its value.
    pub(super) column: Option<(usize, u64)>,
}

impl Oversized {
    /// By the beginning of a message outside of chunks; `None` if that is no row.
    pub(super) fn of(data: &[u8], size: usize) -> Option<Self> {
        let (kind, rest) = data.split_first()?;
        Self::by(*kind, rest, size as u64)
    }

    /// By the kept form.
    pub(super) fn kept(data: &[u8]) -> Option<Self> {
        let (size, rest) = data.get(5..)?.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        Self::by(*kind, rest, u64::from_be_bytes(*size))
    }

    fn by(kind: u8, rest: &[u8], size: u64) -> Option<Self> {
        let (relation, rest) = rest.split_first_chunk::<4>()?;
        let is_row = matches!(kind, b'I' | b'U' | b'D');
        is_row.then(|| Self { relation: u32::from_be_bytes(*relation), size, column: cut_column(rest) })
    }

    /// Why the row is refused; `column` is the name of the one that is known.
    pub(super) fn problem(self, table: &TableName, column: Option<&str>, most: u64) -> Problem {
        let of_which = match (column, self.column) {
            (Some(column), Some((_, bytes))) if bytes >= 1 << 20 => format!(", {} of them in {column}", mib(bytes)),
            _ => String::new(),
        };
        refusal(table, &format!("{}{of_which}", mib(self.size)), most)
    }
}

/// The refusal of a row of that size.
pub(super) fn refusal(table: &TableName, size: &str, most: u64) -> Problem {
    let text = format!("A row of {table} has {size}; the task takes rows of up to {} MiB.", most >> 20);
    Problem::new(Fault::Data, "row-too-large", text).table(table).advice(
        "Raise the task's setting row_mib, if its worker has the memory for two such rows, or have the source hold \
         smaller ones; then reload the table.",
    )
}

/// Bytes in words, rounded up.
pub(super) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The kept form of a message of a chunk, which begins with its kind and the number of the subtransaction; `None` if it is
/// no row.
pub(super) fn to_keep(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let (kind, rest) = data.split_first()?;
    let (subtransaction, rest) = rest.split_first_chunk::<4>()?;
    let is_row = matches!(kind, b'I' | b'U' | b'D');
    is_row.then(|| [&[MARK], &subtransaction[..], &(size as u64).to_be_bytes(), &[*kind], rest].concat())
}

/// The first column whose value is not wholly there: rows follow each other, each with its mark and its cells.
fn cut_column(mut rest: &[u8]) -> Option<(usize, u64)> {
    loop {
        let (_mark, tuple) = rest.split_first()?;
        let (count, mut cells) = tuple.split_first_chunk::<2>()?;
        for column in 0..usize::from(u16::from_be_bytes(*count)) {
            let (kind, after) = cells.split_first()?;
            if matches!(kind, b'n' | b'u') {
                cells = after;
                continue;
            }
            let (length, value) = after.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*length);
            let Some(after) = value.get(length as usize..) else { return Some((column, length.into())) };
            cells = after;
        }
        rest = cells;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beginning() -> Vec<u8> {
        let old = [&b"K\0\x02b\0\0\0\x04\0\0\0\x07n"[..]].concat();
        let new = [&b"N\0\x03b\0\0\0\x04\0\0\0\x08ub\x06\0\0\0begins"[..]].concat();
        [&b"U\0\0\x40\x01"[..], &old, &new].concat()
    }

    #[test]
    fn the_relation_and_the_column_that_is_cut_are_told() {
        let expected = Oversized { relation: 0x4001, size: 0x0600_0100, column: Some((2, 0x0600_0000)) };
        assert_eq!(Oversized::of(&beginning(), 0x0600_0100), Some(expected));
        let chunk = [&b"U\0\0\0\x2a"[..], &beginning()[1..]].concat();
        let kept = to_keep(&chunk, 0x0600_0100).unwrap();
        assert_eq!(kept[..5], *b"!\0\0\0\x2a");
        assert_eq!(Oversized::kept(&kept), Some(expected));
        assert_eq!((Oversized::of(b"Y\0\0\0\x01", 9), to_keep(b"R\0\0\0\x01\0", 9)), (None, None));
        let problem = expected.problem(&TableName::new("public", "films"), Some("film"), 64 << 20);
        assert_eq!(
            problem.text,
            "A row of public.films has 97 MiB, 96 MiB of them in film; the task takes rows of up to 64 MiB."
        );
    }

    proptest! {
        #[test]
        fn no_beginning_makes_it_panic(data in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Oversized::of(&data, 7);
            let _ = Oversized::kept(&data);
            let _ = to_keep(&data, 7);
        }
    }
}
