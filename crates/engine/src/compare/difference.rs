//! What differs between two lists of rows, as a plain function.

use std::collections::HashMap;

use wavemark_connector::compare::{Bucket, Listed};
use wavemark_domain::compare::{Difference, DifferingRow, RowKey};

/// The buckets that differ, each with the larger number of its rows on the two sides.
pub(super) fn differing(source: &[Bucket], target: &[Bucket]) -> Vec<(u32, u64)> {
    let mut sides: HashMap<u32, [Option<&Bucket>; 2]> = HashMap::new();
    for (side, buckets) in [source, target].into_iter().enumerate() {
        for bucket in buckets {
            sides.entry(bucket.number).or_default()[side] = Some(bucket);
        }
    }
    let rows = |bucket: Option<&Bucket>| bucket.map_or(0, |bucket| bucket.rows);
    let mut found: Vec<(u32, u64)> = sides
        .into_iter()
        .filter(|(_, [source, target])| source != target)
        .map(|(number, [source, target])| (number, rows(source).max(rows(target))))
        .collect();
    found.sort_unstable();
    found
}

/// Runs of buckets with about so many rows each, at least one bucket.
pub(super) fn grouped(buckets: &[(u32, u64)], most_rows: u64) -> Vec<Vec<u32>> {
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut rows = most_rows;
    for (number, count) in buckets {
        if rows + count > most_rows || groups.is_empty() {
            groups.push(Vec::new());
            rows = 0;
        }
        rows += count;
        if let Some(group) = groups.last_mut() {
            group.push(*number);
        }
    }
    groups
}

/// How many rows differ, and the keys of those that have one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) different: u64,
    pub(super) keys: Vec<DifferingRow>,
}

/// Compares the rows of the same buckets.
pub(super) fn compare(source: Vec<Listed>, target: Vec<Listed>, is_keyless: bool) -> Differences {
    if is_keyless { by_hash(source, target) } else { by_key(source, target) }
}

fn by_key(source: Vec<Listed>, target: Vec<Listed>) -> Differences {
    let mut found = Differences::default();
    let mut there: HashMap<Vec<String>, Listed> =
        target.into_iter().map(|mut row| (std::mem::take(&mut row.text), row)).collect();
    for row in source {
        let difference = match there.remove(&row.text) {
            Some(other) if other.hash == row.hash => continue,
            Some(_) => Difference::Different,
            None => Difference::Missing,
        };
        found.add(difference, row.text, &row.cells);
    }
    for (text, row) in there {
        found.add(Difference::Extra, text, &row.cells);
    }
    found.keys.sort_by(|a, b| a.key.text.cmp(&b.key.text));
    found
}

/// Rows without a key are a multiset: only their numbers can differ.
fn by_hash(source: Vec<Listed>, target: Vec<Listed>) -> Differences {
    let mut counts: HashMap<i64, i128> = HashMap::new();
    for row in source {
        *counts.entry(row.hash).or_default() += i128::from(row.count);
    }
    for row in target {
        *counts.entry(row.hash).or_default() -= i128::from(row.count);
    }
    let mut found = Differences::default();
    for count in counts.into_values() {
        let rows = u64::try_from(count.unsigned_abs()).unwrap_or(u64::MAX);
        if count > 0 {
            found.missing += rows;
        } else {
            found.extra += rows;
        }
    }
    found
}

impl Differences {
    fn add(&mut self, difference: Difference, text: Vec<String>, cells: &[Vec<u8>]) {
        *match difference {
            Difference::Missing => &mut self.missing,
            Difference::Extra => &mut self.extra,
            Difference::Different => &mut self.different,
        } += 1;
        let cells = cells.iter().map(|cell| hex(cell)).collect();
        self.keys.push(DifferingRow { difference, key: RowKey { text, cells } });
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads what [`hex`] wrote.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    wavemark_domain::Position::from_hex(text).map(|bytes| bytes.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(number: u32, rows: u64, sum: i128) -> Bucket {
        Bucket { number, rows, sum }
    }

    fn row(key: &str, hash: i64) -> Listed {
        Listed { hash, count: 1, text: vec![key.to_owned()], cells: vec![key.as_bytes().to_vec()] }
    }

    #[test]
    fn buckets_differ_by_rows_or_sum_or_by_being_there() {
        let source = [bucket(1, 5, 50), bucket(2, 5, 50), bucket(3, 5, 50), bucket(4, 2, 7)];
        let target = [bucket(1, 5, 50), bucket(2, 5, 51), bucket(3, 6, 50), bucket(9, 1, 7)];
        assert_eq!(differing(&source, &target), [(2, 5), (3, 6), (4, 2), (9, 1)]);
    }

    #[test]
    fn groups_hold_about_so_many_rows() {
        let buckets = [(1, 40), (2, 50), (3, 30), (4, 500), (5, 1)];
        assert_eq!(grouped(&buckets, 100), [vec![1, 2], vec![3], vec![4], vec![5]]);
        assert!(grouped(&[], 100).is_empty());
    }

    #[test]
    fn rows_are_missing_extra_or_different() {
        let source = vec![row("a", 1), row("b", 2), row("c", 3)];
        let target = vec![row("d", 4), row("c", 33), row("a", 1)];
        let found = compare(source, target, false);
        assert_eq!((found.missing, found.extra, found.different), (1, 1, 1));
        let named: Vec<(&str, Difference)> =
            found.keys.iter().map(|row| (row.key.text[0].as_str(), row.difference)).collect();
        assert_eq!(named, [("b", Difference::Missing), ("c", Difference::Different), ("d", Difference::Extra)]);
        assert_eq!(from_hex(&found.keys[0].key.cells[0]), Some(b"b".to_vec()));
    }

    #[test]
    fn equal_rows_without_a_key_are_counted() {
        let rows = |hash, count| Listed { hash, count, text: Vec::new(), cells: Vec::new() };
        let found = compare(vec![rows(1, 3), rows(2, 1)], vec![rows(1, 1), rows(2, 1), rows(3, 2)], true);
        assert_eq!((found.missing, found.extra, found.different), (2, 2, 0));
        assert!(found.keys.is_empty());
    }
}
