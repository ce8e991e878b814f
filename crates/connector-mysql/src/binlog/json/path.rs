//! The path of a change in a JSON value, as the server writes it: `$.name."another name"[3][last-1]`.

use crate::fields::Malformed;

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    Member(String),
    Cell(usize),
    /// So many before the last.
    Last(usize),
}

const NONE: Malformed = Malformed("the path of a change of a JSON value is none");

pub(super) fn legs(path: &[u8]) -> Result<Vec<Leg>, Malformed> {
    let text = std::str::from_utf8(path).map_err(|_| NONE)?;
    let mut rest = text.strip_prefix('$').ok_or(NONE)?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        let (leg, behind) = leg(rest)?;
        legs.push(leg);
        rest = behind;
    }
    Ok(legs)
}

fn leg(text: &str) -> Result<(Leg, &str), Malformed> {
    if let Some(text) = text.strip_prefix('[') {
        let (number, behind) = text.split_once(']').ok_or(NONE)?;
        return Ok((cell(number).ok_or(NONE)?, behind));
    }
    let text = text.strip_prefix('.').ok_or(NONE)?;
    if text.starts_with('"') {
        let length = quoted(text).ok_or(NONE)?;
        let (name, behind) = text.split_at_checked(length).ok_or(NONE)?;
        return Ok((Leg::Member(serde_json::from_str(name).map_err(|_| NONE)?), behind));
    }
    let length = text.find(['.', '[']).unwrap_or(text.len());
    let (name, behind) = text.split_at_checked(length).filter(|(name, _)| !name.is_empty()).ok_or(NONE)?;
    Ok((Leg::Member(name.to_owned()), behind))
}

fn cell(text: &str) -> Option<Leg> {
    match text.strip_prefix("last") {
        None => text.parse().ok().map(Leg::Cell),
        Some("") => Some(Leg::Last(0)),
        Some(before) => before.strip_prefix('-')?.parse().ok().map(Leg::Last),
    }
}

impl Leg {
    /// Where it is in an array of so many, or would be put; none if it is no cell.
    pub(super) fn place(&self, count: usize) -> Option<usize> {
        match self {
            Self::Member(_) => None,
            Self::Cell(at) => Some((*at).min(count)),
            Self::Last(before) => Some(count.saturating_sub(before.saturating_add(1))),
        }
    }

    /// The same of one that is there.
    pub(super) fn place_within(&self, count: usize) -> Option<usize> {
        match self {
            Self::Last(before) if *before >= count => None,
            _ => self.place(count).filter(|at| *at < count),
        }
    }
}

/// How long the name in quotes is that a text begins with, quotes included.
fn quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().enumerate().skip(1).find_map(|(at, byte)| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends.then_some(at + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Leg {
        Leg::Member(name.to_owned())
    }

    #[test]
    fn members_and_cells_are_read_one_after_the_other() {
        assert_eq!(legs(b"$"), Ok(vec![]));
        assert_eq!(legs(b"$.a[10].b_$c"), Ok(vec![member("a"), Leg::Cell(10), member("b_$c")]));
        assert_eq!(
            legs(br#"$[0]."it's \"[a].b\\"."#.strip_suffix(b".").unwrap()).unwrap()[1],
            member("it's \"[a].b\\")
        );
        assert_eq!(legs("$.é.\"\\u00e9\".\"\"".as_bytes()), Ok(vec![member("é"), member("é"), member("")]));
    }

    #[test]
    fn cells_are_counted_from_the_end_too() {
        assert_eq!(legs(b"$[last][last-2]"), Ok(vec![Leg::Last(0), Leg::Last(2)]));
        let places = |leg: Leg| (leg.place_within(3), leg.place(3));
        assert_eq!(places(Leg::Last(0)), (Some(2), Some(2)));
        assert_eq!(places(Leg::Last(2)), (Some(0), Some(0)));
        assert_eq!(places(Leg::Last(3)), (None, Some(0)));
        assert_eq!(places(Leg::Cell(3)), (None, Some(3)));
        assert_eq!(places(Leg::Cell(9)), (None, Some(3)));
        assert_eq!(Leg::Last(0).place_within(0), None);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            &b""[..],
            b"a",
            b"$a",
            b"$.",
            b"$[",
            b"$[]",
            b"$[x]",
            b"$[-1]",
            b"$[last+1]",
            b"$[last-]",
            b"$..a",
            b"$.\"a",
            b"$.\"a\\\"",
            b"$.\xFF",
        ] {
            assert_eq!(legs(path), Err(NONE), "{path:?}");
        }
    }
}
