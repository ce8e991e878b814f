//! How much of its texts a row holds itself: 65,535 bytes at most, of which texts that lie elsewhere take a pointer.

use wavemark_domain::{Logical, Table};

use super::keys::Shares;
use super::{CHARACTER, Room};

/// The most characters of a text that a row could hold if it held nothing else.
pub(super) const LONGEST: u32 = 16_383;
/// What a row may have.
const ROW: u32 = 65_535;
/// What anything but a text takes at most, and its NULL: a decimal of 65 digits 30 bytes, a UUID 36; a text that lies
/// elsewhere 12.
const OTHER: u32 = 38;
/// How long a text is.
const LENGTH: u32 = 2;

/// The room of each column. Where a row is too small for all, the longest texts lie elsewhere.
pub(super) fn rooms(source: &Table, logical: &[Option<Logical>], shares: &Shares) -> Vec<Room> {
    let shares: Vec<Option<u32>> = (0..source.columns.len()).map(|at| shares.share(at)).collect();
    let kept: u32 = shares.iter().map(|share| share.unwrap_or(0) + OTHER).fold(0, u32::saturating_add);
    let mut left = ROW.saturating_sub(kept);
    let mut texts: Vec<(u32, usize)> = (0..shares.len())
        .filter(|at| shares[*at].is_none())
        .filter_map(|at| Some((length(logical, at)?, at)))
        .collect();
    texts.sort_unstable();
    let mut rooms: Vec<Room> = shares.iter().map(|share| share.map_or(Room::Own, Room::Share)).collect();
    for (length, at) in texts {
        let bytes = length.saturating_mul(CHARACTER).saturating_add(LENGTH);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => rooms[at] = Room::Elsewhere,
        }
    }
    rooms
}

/// The most characters of a text that has an end.
fn length(logical: &[Option<Logical>], at: usize) -> Option<u32> {
    match logical.get(at)?.as_ref()? {
        Logical::Text { length } => length.filter(|length| (1..=LONGEST).contains(length)),
        Logical::Enum { .. } => Some(super::LABEL),
        _ => None,
    }
}
