//! Names for what has none here, or one that is another's.

use std::collections::BTreeSet;

/// The most bytes of a name.
const MOST: usize = 63;

/// The names of one table's keys, indexes and sequences, each its own.
#[derive(Default)]
pub(super) struct Chosen(BTreeSet<String>);

impl Chosen {
    /// A name of these parts that no other call got; what would be too long is cut.
    pub(super) fn name(&mut self, table: &str, own: &str, ending: &str) -> String {
        let mut number = 0_u32;
        loop {
            let end = if number == 0 { ending.to_owned() } else { format!("{ending}{number}") };
            let name = joined(table, own, &end);
            if self.0.insert(name.clone()) {
                return name;
            }
            number += 1;
        }
    }

    /// A name, cut if it is too long, that no other call got.
    pub(super) fn like(&mut self, name: &str) -> String {
        let whole = cut(name, MOST);
        if self.0.insert(whole.to_owned()) { whole.to_owned() } else { self.name(name, "", "1") }
    }
}

/// The parts with `_` between, the longer of the first two being cut until all of it fits.
fn joined(table: &str, own: &str, ending: &str) -> String {
    let between = if own.is_empty() { 1 } else { 2 };
    let room = MOST.saturating_sub(ending.len() + between);
    let left_by = |other: &str| room - other.len().min(room / 2);
    let both = table.len() + own.len() <= room;
    let (table, own) = if both { (table, own) } else { (cut(table, left_by(own)), cut(own, left_by(table))) };
    if own.is_empty() { format!("{table}_{ending}") } else { format!("{table}_{own}_{ending}") }
}

/// As much of a text as so many bytes hold.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_table_and_index_and_each_is_its_own() {
        let mut chosen = Chosen::default();
        assert_eq!(chosen.name("orders", "by_day", "idx"), "orders_by_day_idx");
        assert_eq!(chosen.name("orders", "by_day", "idx"), "orders_by_day_idx1");
        assert_eq!(chosen.name("orders", "", "pkey"), "orders_pkey");
        assert_eq!(chosen.like("fk"), "fk");
        assert_eq!(chosen.like("fk"), "fk_1");
    }

    #[test]
    fn names_fit_and_the_longer_part_is_cut() {
        let mut chosen = Chosen::default();
        let long = "x".repeat(64);
        assert_eq!(chosen.name(&long, "short", "idx"), format!("{}_short_idx", "x".repeat(53)));
        assert_eq!(chosen.name("short", &long, "idx"), format!("short_{}_idx", "x".repeat(53)));
        assert_eq!(chosen.name(&long, &long, "idx"), format!("{}_{}_idx", "x".repeat(29), "x".repeat(29)));
        assert_eq!(chosen.like(&long), "x".repeat(63));
        assert_eq!(chosen.like(&long), format!("{}_1", "x".repeat(61)));
        assert_eq!(chosen.name(&"ü".repeat(64), "", "pkey"), format!("{}_pkey", "ü".repeat(29)));
    }
}
