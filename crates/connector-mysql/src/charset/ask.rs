//! What the server makes of the bytes of a character set: all of one byte, then all of more whose beginnings are none by
//! themselves, converted by the server to UTF-8. Tables of a library would differ from it in details.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use wavemark_domain::{Fault, Problem};

use super::tree::beyond;
use super::{Charsets, Tree};
use crate::error;
use crate::wire::{Connection, Row};

/// The sets of which the server is asked, by the most bytes of a character.
const ONE: [&str; 23] = [
    "armscii8", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "dec8", "geostd8", "greek",
    "hebrew", "hp8", "keybcs2", "koi8r", "koi8u", "latin2", "latin5", "latin7", "macce", "macroman", "swe7", "tis620",
];
const TWO: [&str; 6] = ["big5", "cp932", "euckr", "gb2312", "gbk", "sjis"];
const THREE: [&str; 2] = ["eucjpms", "ujis"];
const FOUR: &str = "gb18030";

/// Bytes that stand in a place of a character.
type Place = RangeInclusive<u8>;

const ANY: Place = 0..=0xFF;
/// Of three bytes are the characters of JIS X 0212.
const OF_THREE: [Place; 3] = [0x8F..=0x8F, 0xA1..=0xFE, 0xA1..=0xFE];
/// Of four those of the first plane; what stands for the others is computed.
const OF_FOUR: [Place; 4] = [0x81..=0x84, 0x30..=0x39, 0x81..=0xFE, 0x30..=0x39];
/// The first and the last of those that are computed, which the server is asked, too.
const COMPUTED: [[u8; 4]; 2] = [[0x90, 0x30, 0x81, 0x30], [0xE3, 0x32, 0x9A, 0x35]];

/// What the server gives for what it has no character for.
const NONE: char = '?';

pub(super) fn is_told(name: &str) -> bool {
    ONE.contains(&name) || TWO.contains(&name) || THREE.contains(&name) || name == FOUR
}

/// Asks of these sets.
pub(crate) async fn ask(connection: &mut Connection, names: BTreeSet<String>) -> Result<Charsets, Problem> {
    let mut charsets = Charsets::default();
    for name in names.into_iter().filter(|name| is_told(name)) {
        let tree = tree(connection, &name).await?;
        charsets.insert(name, tree);
    }
    Ok(charsets)
}

async fn tree(connection: &mut Connection, name: &str) -> Result<Tree, Problem> {
    let mut all = whole(connection, name, &[all_of(&ANY)]).await?;
    let alone: BTreeSet<u8> = all.iter().filter_map(|(bytes, _)| bytes.first().copied()).collect();
    if !ONE.contains(&name) {
        let in_front: Vec<u8> = (0x80..=0xFF).filter(|byte| !alone.contains(byte)).collect();
        all.extend(whole(connection, name, &[in_front, all_of(&ANY)]).await?);
    }
    if THREE.contains(&name) {
        all.extend(whole(connection, name, &OF_THREE.each_ref().map(all_of)).await?);
    }
    if name == FOUR {
        all.extend(whole(connection, name, &OF_FOUR.each_ref().map(all_of)).await?);
        for bytes in COMPUTED {
            let told = whole(connection, name, &bytes.map(|byte| vec![byte])).await?;
            if told.first().and_then(|(_, character)| *character) != beyond(bytes) {
                return Err(unlike(name));
            }
        }
    }
    Ok(Tree::of(all.into_iter().filter_map(|(bytes, character)| Some((bytes, character?))), name == FOUR))
}

fn unlike(name: &str) -> Problem {
    let text = format!("The server has other characters in {name} than its standard.");
    Problem::new(Fault::Internal, "charset-differs", text)
}

fn all_of(place: &Place) -> Vec<u8> {
    place.clone().collect()
}

/// Rows of bytes that are one character, of all with these bytes in each place; with the character, if Unicode has it.
async fn whole(
    connection: &mut Connection,
    name: &str,
    places: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, Option<char>)>, Problem> {
    if places.iter().any(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let rows = connection.query(&sql(name, places)).await;
    let rows = rows.map_err(|cause| error::problem(&cause, &format!("ask what texts of {name} are")))?;
    let row = |row: &Row| {
        let number: u32 = row.number(0)?;
        let bytes = number.to_be_bytes()[4 - places.len()..].to_vec();
        // What is not well formed is cut, here or there.
        let is_whole = row.number(1) == Some(places.len());
        let text = row.text(2)?;
        let mut characters = text.chars();
        let character = characters.next().filter(|_| is_whole && characters.next().is_none())?;
        let is_one = character != NONE || bytes == [b'?'];
        Some((bytes, is_one.then_some(character)))
    };
    Ok(rows.iter().filter_map(row).collect())
}

/// Without anything that older versions lack, and without a right to anything.
fn sql(name: &str, places: &[Vec<u8>]) -> String {
    let tables: Vec<String> = places
        .iter()
        .enumerate()
        .map(|(at, bytes)| {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("SELECT {byte} AS b")).collect();
            format!("({}) AS p{at}", bytes.join(" UNION ALL "))
        })
        .collect();
    let number = (0..places.len()).fold("0".to_owned(), |sum, at| format!("({sum} * 256 + p{at}.b)"));
    format!(
        "SELECT n, LENGTH(CHAR(n USING {name})), CONVERT(CHAR(n USING {name}) USING utf8mb4) FROM (SELECT {number} AS n FROM {}) AS numbers",
        tables.join(" CROSS JOIN ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_bytes_is_asked_for_once() {
        let sql = sql("gbk", &[vec![0x81, 0x82], vec![0x40]]);
        assert!(sql.contains("((0 * 256 + p0.b) * 256 + p1.b) AS n"), "{sql}");
        assert!(sql.contains("(SELECT 129 AS b UNION ALL SELECT 130 AS b) AS p0 CROSS JOIN (SELECT 64 AS b) AS p1"));
    }

    #[test]
    fn sets_of_unicode_are_not_asked_for() {
        assert!(is_told("gb18030") && is_told("swe7"));
        assert!(!is_told("utf8mb4") && !is_told("latin1") && !is_told("binary"));
    }
}
