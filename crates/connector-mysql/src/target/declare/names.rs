//! Names for what has one that is too long here, or another's.

use std::collections::BTreeSet;

/// The most characters of a name.
const MOST: usize = 64;

/// The names of one table's indexes or keys, each its own. The server takes names that differ in case alone for the same.
#[derive(Default)]
pub(super) struct Chosen(BTreeSet<String>);

impl Chosen {
    /// A name that no other call got: what is too long is cut, and ends with the sum of what it was.
    pub(super) fn like(&mut self, name: &str) -> String {
        let mut chosen = fitting(name);
        let mut number = 1_u32;
        while !self.0.insert(chosen.to_lowercase()) {
            chosen = fitting(&format!("{name}_{number}"));
            number += 1;
        }
        chosen
    }
}

fn fitting(name: &str) -> String {
    let possible = |c: char| c != '\0' && u32::from(c) <= 0xFFFF;
    let is_name = name.chars().count() <= MOST
        && name.chars().all(possible)
        && !name.is_empty()
        && !name.ends_with(' ')
        && !name.eq_ignore_ascii_case(crate::indexes::PRIMARY);
    if is_name {
        return name.to_owned();
    }
    let sum = format!("_{:08x}", crc32fast::hash(name.as_bytes()));
    name.chars().filter(|c| possible(*c)).take(MOST - sum.len()).chain(sum.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_each_is_its_own() {
        let mut chosen = Chosen::default();
        assert_eq!(chosen.like("by_day"), "by_day");
        assert_eq!(chosen.like("By_Day"), "By_Day_1");
        assert_eq!(chosen.like(&"ü".repeat(64)), "ü".repeat(64));
        assert_eq!(chosen.like(&"x".repeat(65)), format!("{}_7f5fb567", "x".repeat(55)));
        assert_eq!(chosen.like("primary"), "primary_1745ea86");
        assert_eq!(chosen.like("a "), "a _065168d1");
    }
}
