//! How much of its texts a row holds itself. A row has 65,535 bytes, of which texts that lie elsewhere take a pointer; and what
//! of it can't lie elsewhere must go on half a page of 16 KiB.

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
/// What half a page holds, less what each row has of its own.
const HALF_PAGE: u32 = 8_000;
/// What MySQL counts on a page of any text that may lie elsewhere.
const POINTER: u32 = 40;
/// MariaDB keeps texts of so many bytes on their page.
const SHORT: u32 = 255;

/// The room of each column. Where a row is too small for all, the longest texts lie elsewhere; where a page is, the short ones
/// that gain by it.
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
    for (length, at) in &texts {
        let bytes = length.saturating_mul(CHARACTER).saturating_add(LENGTH);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => rooms[*at] = Room::Elsewhere,
        }
    }
    let mut used: u32 = (0..rooms.len()).map(|at| on_page(logical, at, rooms[at])).fold(0, u32::saturating_add);
    let is_short = |length: &u32| (POINTER..=SHORT).contains(&length.saturating_mul(CHARACTER));
    for (length, at) in texts.into_iter().rev().filter(|(length, _)| is_short(length)) {
        if used <= HALF_PAGE {
            break;
        }
        used -= length.saturating_mul(CHARACTER) - POINTER;
        rooms[at] = Room::Elsewhere;
    }
    rooms
}

/// What a column takes of its row's page at most, with its length.
fn on_page(logical: &[Option<Logical>], at: usize, room: Room) -> u32 {
    let text = |bytes: u32| if bytes > SHORT { POINTER } else { bytes };
    let bytes = match (room, logical.get(at).and_then(Option::as_ref)) {
        (Room::Share(share), _) => text(share),
        (_, Some(Logical::Decimal { .. } | Logical::Uuid)) => OTHER,
        (Room::Own, _) if length(logical, at).is_some() => {
            text(length(logical, at).unwrap_or(0).saturating_mul(CHARACTER))
        }
        (
            _,
            Some(Logical::Text { .. } | Logical::Enum { .. } | Logical::Set { .. } | Logical::Bytes | Logical::Json),
        ) => POINTER,
        _ => 8,
    };
    bytes + LENGTH
}

/// The most characters of a text that has an end.
fn length(logical: &[Option<Logical>], at: usize) -> Option<u32> {
    match logical.get(at)?.as_ref()? {
        Logical::Text { length } => length.filter(|length| (1..=LONGEST).contains(length)),
        Logical::Enum { .. } => Some(super::LABEL),
        _ => None,
    }
}
