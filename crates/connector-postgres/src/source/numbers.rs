//! Which columns a Relation message means, by their numbers: a column has one for life, and the message does not say it.
//!
//! Numbers are given in order, none comes twice, and the catalog still knows which are dropped. So a message has, up to the
//! highest number that was given by then, every column that is there now, and some of those that are dropped now, in order.
//! Of all columns that fit that, those remain whose types can have become what they are. If more than one reading
//! remains, nothing is proved.

use wavemark_domain::Column;

use super::described::Attribute;
use crate::native::ColumnNative;
use crate::pgoutput;

/// A column of a message, with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) number: i16,
    pub(super) name: String,
    pub(super) type_id: u32,
    pub(super) modifier: i32,
}

impl Numbered {
    /// A column of a plan.
    pub(super) fn of(column: &Column) -> Result<Self, serde_json::Error> {
        let ColumnNative { attnum, r#type, type_modifier, .. } = ColumnNative::of(column)?;
        Ok(Self { number: attnum, name: column.name.clone(), type_id: r#type.oid, modifier: type_modifier })
    }
}

/// Why a message has no reading.
pub(super) const ANOTHER: &str = "it has other columns, and was changed again since";

/// How many readings are looked at, at most.
const MOST: usize = 1_024;

/// What is known where a message is read.
pub(super) struct Reading<'a> {
    /// The columns of the message before.
    pub(super) before: &'a [Numbered],
    /// The highest number that was given by then.
    pub(super) highest: i16,
    /// Every column that the table ever had.
    pub(super) attributes: &'a [Attribute],
    /// Whether rows may have been rewritten since: then any type can have become any other.
    pub(super) is_rewritten: bool,
}

impl Reading<'_> {
    /// The number of each column of the message; why they are not known, if they aren't.
    pub(super) fn numbers(&self, message: &[pgoutput::Column<'_>]) -> Result<Vec<i16>, &'static str> {
        let mut found: Vec<Vec<i16>> = Vec::new();
        for cut in std::iter::once(self.highest).chain(self.later()) {
            let readings = self.up_to(cut, message.len()).ok_or("its columns changed too often since")?;
            found.extend(readings.into_iter().filter(|numbers| self.is_possible(message, numbers)));
        }
        found.sort_unstable();
        found.dedup();
        match found.len() {
            0 => Err(ANOTHER),
            1 => Ok(found.remove(0)),
            _ => Err("columns were dropped, and others added that may be the same under another name"),
        }
    }

    fn later(&self) -> impl Iterator<Item = i16> {
        self.attributes.iter().map(|one| one.number).filter(|number| *number > self.highest)
    }

    /// All ways to have so many columns with numbers up to `cut`.
    fn up_to(&self, cut: i16, columns: usize) -> Option<Vec<Vec<i16>>> {
        let numbers = |is: &dyn Fn(&Attribute) -> bool| -> Vec<i16> {
            self.attributes.iter().filter(|one| one.number <= cut && is(one)).map(|one| one.number).collect()
        };
        let present = numbers(&|one| !one.is_dropped && !one.is_generated);
        let was_there = |number: i16| number > self.highest || self.before.iter().any(|one| one.number == number);
        let dropped = numbers(&|one| one.is_dropped && was_there(one.number));
        let Some(more) = columns.checked_sub(present.len()).filter(|more| *more <= dropped.len()) else {
            return Some(Vec::new());
        };
        let mut ways = vec![Vec::new()];
        for (at, number) in dropped.iter().enumerate() {
            let left = dropped.len() - at - 1;
            let with = ways.iter().filter(|way| way.len() < more).map(|way| [way.as_slice(), &[*number]].concat());
            let with: Vec<Vec<i16>> = with.collect();
            ways.retain(|way| way.len() + left >= more);
            ways.extend(with);
            if ways.len() > MOST {
                return None;
            }
        }
        let sorted = |way: Vec<i16>| {
            let mut numbers = [present.clone(), way].concat();
            numbers.sort_unstable();
            numbers
        };
        Some(ways.into_iter().filter(|way| way.len() == more).map(sorted).collect())
    }

    fn is_possible(&self, message: &[pgoutput::Column<'_>], numbers: &[i16]) -> bool {
        message.iter().zip(numbers).all(|(column, number)| {
            let before = self.before.iter().find(|one| one.number == *number).map(|one| one.type_id);
            let present = self.attributes.iter().find(|one| one.number == *number && !one.is_dropped);
            let now = present.map(|one| one.type_id);
            before.into_iter().chain(now).all(|kind| self.is_rewritten || alike(kind, column.type_id))
        })
    }
}

/// Whether a column can get from one type to the other without its rows being rewritten.
fn alike(a: u32, b: u32) -> bool {
    /// The first OID of a type that is not built in: a domain may be alike to any.
    const FIRST_OWN: u32 = 16_384;
    /// text, bpchar, varchar, name.
    const TEXTS: [u32; 4] = [25, 1_042, 1_043, 19];
    /// inet and cidr; bit and varbit; xml goes from text; timestamp and timestamptz where the zone is UTC; int4 and oid.
    const OTHERS: [[u32; 2]; 5] = [[869, 650], [1_560, 1_562], [142, 25], [1_114, 1_184], [23, 26]];
    let both = |types: &[u32]| types.contains(&a) && types.contains(&b);
    a == b || a >= FIRST_OWN || b >= FIRST_OWN || both(&TEXTS) || OTHERS.iter().any(|types| both(types))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: u32 = 23;
    const TEXT: u32 = 25;
    const JSONB: u32 = 3802;

    fn before(columns: &[(i16, u32)]) -> Vec<Numbered> {
        let numbered = |(number, type_id): &(i16, u32)| Numbered {
            number: *number,
            name: format!("c{number}"),
            type_id: *type_id,
            modifier: -1,
        };
        columns.iter().map(numbered).collect()
    }

    /// Types of the columns now, `None` for a dropped one, from number 1 on.
    fn read(
        known: &[(i16, u32)],
        now: &[Option<u32>],
        message: &[u32],
        is_rewritten: bool,
    ) -> Result<Vec<i16>, &'static str> {
        let attribute = |(number, type_id): (i16, &Option<u32>)| Attribute {
            number,
            name: format!("n{number}"),
            is_dropped: type_id.is_none(),
            is_generated: false,
            type_id: type_id.unwrap_or_default(),
            modifier: -1,
        };
        let attributes: Vec<Attribute> = (1..).zip(now).map(attribute).collect();
        let before = before(known);
        let highest = before.last().unwrap().number;
        let column = |type_id: &u32| pgoutput::Column { key: false, name: "any", type_id: *type_id, modifier: -1 };
        let message: Vec<_> = message.iter().map(column).collect();
        Reading { before: &before, highest, attributes: &attributes, is_rewritten }.numbers(&message)
    }

    #[test]
    fn what_the_counts_leave_one_reading_of_is_known() {
        let known = [(1, INT), (2, TEXT), (3, INT)];
        let all = [Some(INT), Some(TEXT), Some(INT), Some(INT), Some(INT)];
        assert_eq!(read(&known, &all[..4], &[INT, TEXT, INT, INT], false), Ok(vec![1, 2, 3, 4]));
        // Read late: one of two that came.
        assert_eq!(read(&known, &all, &[INT, TEXT, INT, INT], false), Ok(vec![1, 2, 3, 4]));
        // One was dropped; by now or since.
        let dropped = [Some(INT), None, Some(INT), Some(INT)];
        assert_eq!(read(&known, &dropped[..3], &[INT, INT], false), Ok(vec![1, 3]));
        assert_eq!(read(&known, &dropped, &[INT, TEXT, INT, INT], false), Ok(vec![1, 2, 3, 4]));
        // One that came has gone since.
        let gone = [Some(INT), Some(TEXT), Some(INT), Some(INT), None];
        assert_eq!(read(&known, &gone, &[INT, TEXT, INT, INT], false), Ok(vec![1, 2, 3, 4]));
        assert_eq!(read(&known, &gone, &[INT, TEXT, INT, INT, INT], false), Ok(vec![1, 2, 3, 4, 5]));
    }

    #[test]
    fn types_tell_a_column_that_came_from_one_that_was_renamed() {
        let known = [(1, INT), (2, TEXT)];
        assert_eq!(read(&known, &[Some(INT), None, Some(JSONB)], &[INT, JSONB], false), Ok(vec![1, 3]));
        let ambiguous = Err("columns were dropped, and others added that may be the same under another name");
        assert_eq!(read(&known, &[Some(INT), None, Some(TEXT)], &[INT, TEXT], false), ambiguous);
        assert_eq!(read(&known, &[Some(INT), None, Some(JSONB)], &[INT, JSONB], true), ambiguous);
    }

    #[test]
    fn a_message_from_before_what_is_known_has_no_reading() {
        let nothing = Err("it has other columns, and was changed again since");
        assert_eq!(read(&[(1, INT), (2, TEXT)], &[Some(INT), Some(TEXT)], &[INT], false), nothing);
    }
}
