//! A JSON value of which the log has only what changed (`binlog_row_value_options` is `PARTIAL_JSON`; server sources:
//! `json_diff.h`): one change after the other is done to the value before, and the text written of what that becomes.
//!
//! A change is what is done (one byte), the path, and the value unless it is taken away; path and value behind their lengths. The
//! value before is taken apart only along the paths.

use std::borrow::Cow;

use super::path::{Leg, legs};
use super::{Container, Text};
use crate::fields::{Fields, Malformed};

/// Writes what a value became behind what `out` has; on an error nothing.
pub(crate) fn write_changed(before: &[u8], changes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let mut root = Node::read(before);
    // Each that a container holds takes more bytes than one; one that is read again and again does not.
    let mut left = before.len().saturating_add(changes.len());
    let mut fields = Fields(changes);
    while !fields.0.is_empty() {
        let change = Change::read(&mut fields)?;
        change.apply(&mut root, &mut left)?;
    }
    let begin = out.len();
    let length = before.len().saturating_add(changes.len());
    let written = root.write(&mut Text::new(out, length));
    if written.is_err() {
        out.truncate(begin);
    }
    written
}

const NOWHERE: Malformed = Malformed("a change of a JSON value is of what it does not have");

/// A part of a value: as it was read, or taken apart.
enum Node<'a> {
    Plain(u8, &'a [u8]),
    Array(Vec<Node<'a>>),
    /// In the order in which the server keeps names: shorter ones first, then by their bytes.
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
}

/// What is done at the path.
enum Done<'a> {
    Replace(Node<'a>),
    Insert(Node<'a>),
    Remove,
}

struct Change<'a> {
    path: Vec<Leg>,
    done: Done<'a>,
}

impl<'a> Change<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let what = fields.u8()?;
        let path = legs(fields.sized()?)?;
        let mut value = || Ok(Node::read(fields.sized()?));
        let done = match what {
            0 => Done::Replace(value()?),
            1 => Done::Insert(value()?),
            2 => Done::Remove,
            _ => return Err(Malformed("a change of a JSON value is of a kind that is not known")),
        };
        Ok(Self { path, done })
    }

    fn apply(self, root: &mut Node<'a>, left: &mut usize) -> Result<(), Malformed> {
        let (last, before) = self.path.split_last().ok_or(NOWHERE)?;
        let mut node = root;
        for leg in before {
            node = node.held(leg, left)?;
        }
        match self.done {
            Done::Replace(value) => {
                *node.held(last, left)? = value;
                Ok(())
            }
            Done::Insert(value) => node.insert(last, value, left),
            Done::Remove => node.remove(last, left),
        }
    }
}

impl<'a> Node<'a> {
    /// No bytes at all are the server's `null`.
    fn read(bytes: &'a [u8]) -> Self {
        const NULL: &[u8] = &[0];
        bytes.split_first().map_or(Self::Plain(4, NULL), |(kind, value)| Self::Plain(*kind, value))
    }

    /// Takes it apart, if it holds others.
    fn open(&mut self, left: &mut usize) -> Result<(), Malformed> {
        let Self::Plain(kind @ 0..=3, bytes) = *self else { return Ok(()) };
        let mut container = Container::read(kind, bytes)?;
        *left = left.checked_sub(container.count).ok_or(Malformed("a JSON value holds the same one again"))?;
        *self = if container.is_object {
            let mut members = Vec::with_capacity(container.count);
            for _ in 0..container.count {
                let name = Cow::Borrowed(container.key()?);
                let (kind, bytes) = container.value()?;
                members.push((name, Self::Plain(kind, bytes)));
            }
            Self::Object(members)
        } else {
            let values = (0..container.count).map(|_| container.value().map(|(kind, bytes)| Self::Plain(kind, bytes)));
            Self::Array(values.collect::<Result<_, _>>()?)
        };
        Ok(())
    }

    fn held(&mut self, leg: &Leg, left: &mut usize) -> Result<&mut Self, Malformed> {
        self.open(left)?;
        let found = match (self, leg) {
            (Self::Array(values), leg) => leg.place_within(values.len()).and_then(|at| values.get_mut(at)),
            (Self::Object(members), Leg::Member(name)) => {
                members.iter_mut().find(|(one, _)| **one == *name.as_bytes()).map(|(_, value)| value)
            }
            _ => None,
        };
        found.ok_or(NOWHERE)
    }

    /// Behind the end of an array is its end.
    fn insert(&mut self, leg: &Leg, value: Self, left: &mut usize) -> Result<(), Malformed> {
        self.open(left)?;
        match (self, leg) {
            (Self::Array(values), leg) => values.insert(leg.place(values.len()).ok_or(NOWHERE)?, value),
            (Self::Object(members), Leg::Member(name)) => {
                let name = name.as_bytes();
                let at = members.partition_point(|(one, _)| (one.len(), &**one) < (name.len(), name));
                if members.get(at).is_some_and(|(one, _)| **one == *name) {
                    return Err(Malformed("a change of a JSON value adds what it has already"));
                }
                members.insert(at, (Cow::Owned(name.to_vec()), value));
            }
            _ => return Err(NOWHERE),
        }
        Ok(())
    }

    fn remove(&mut self, leg: &Leg, left: &mut usize) -> Result<(), Malformed> {
        self.held(leg, left)?;
        match (self, leg) {
            (Self::Array(values), leg) => drop(values.remove(leg.place_within(values.len()).ok_or(NOWHERE)?)),
            (Self::Object(members), Leg::Member(name)) => members.retain(|(one, _)| **one != *name.as_bytes()),
            _ => return Err(NOWHERE),
        }
        Ok(())
    }

    fn write(&self, text: &mut Text<'_>) -> Result<(), Malformed> {
        match self {
            Self::Plain(kind, bytes) => text.value(*kind, bytes),
            Self::Array(values) => text.held('[', values, ']', |text, value| value.write(text)),
            Self::Object(members) => text.held('{', members, '}', |text, (name, value)| {
                text.name(name)?;
                value.write(text)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changed(before: &[u8], changes: &[&[u8]]) -> Result<String, Malformed> {
        let mut out = "before: ".to_owned();
        let written = write_changed(before, &changes.concat(), &mut out);
        let text = out.strip_prefix("before: ").unwrap().to_owned();
        assert!(written.is_ok() || text.is_empty());
        written.map(|()| text)
    }

    fn is(before: &[u8], changes: &[&[u8]], expected: &str) {
        assert_eq!(changed(before, changes).as_deref(), Ok(expected));
    }

    fn change(what: u8, path: &str, value: Option<&[u8]>) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
        [&[what][..], &sized(path.as_bytes()), &value.map(sized).unwrap_or_default()].concat()
    }

    /// Whole numbers of 16 bits.
    fn number(value: i16) -> [u8; 3] {
        let [a, b] = value.to_le_bytes();
        [5, a, b]
    }

    /// `{"a": 1, "bb": [1, 2, true]}`: two names and two values, then the names, then the array.
    const BEFORE: &[u8] = &[
        0, 2, 0, 34, 0, 18, 0, 1, 0, 19, 0, 2, 0, 5, 1, 0, 2, 21, 0, b'a', b'b', b'b', 3, 0, 13, 0, 5, 1, 0, 5, 2, 0,
        4, 1, 0,
    ];

    #[test]
    fn without_a_change_it_is_what_it_was() {
        is(BEFORE, &[], r#"{"a": 1, "bb": [1, 2, true]}"#);
        is(&[], &[], "null");
        is(&[5, 7, 0], &[], "7");
    }

    #[test]
    fn what_is_at_a_path_is_replaced() {
        is(BEFORE, &[&change(0, "$.a", Some(&number(-5)))], r#"{"a": -5, "bb": [1, 2, true]}"#);
        is(BEFORE, &[&change(0, "$.bb[1]", Some(b"\x0C\x01x"))], r#"{"a": 1, "bb": [1, "x", true]}"#);
        is(BEFORE, &[&change(0, "$.bb", Some(BEFORE))], r#"{"a": 1, "bb": {"a": 1, "bb": [1, 2, true]}}"#);
    }

    #[test]
    fn arrays_move_on_and_objects_keep_the_order_of_their_names() {
        is(BEFORE, &[&change(1, "$.bb[0]", Some(&number(9)))], r#"{"a": 1, "bb": [9, 1, 2, true]}"#);
        is(BEFORE, &[&change(1, "$.bb[77]", Some(&number(9)))], r#"{"a": 1, "bb": [1, 2, true, 9]}"#);
        let names = ["$.\"ab c\"", "$.z", "$.aa", "$.\"\""].map(|path| change(1, path, Some(&number(0))));
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        is(BEFORE, &names, r#"{"": 0, "a": 1, "z": 0, "aa": 0, "bb": [1, 2, true], "ab c": 0}"#);
    }

    #[test]
    fn the_last_of_an_array_is_found_from_its_end() {
        is(BEFORE, &[&change(0, "$.bb[last]", Some(&number(9)))], r#"{"a": 1, "bb": [1, 2, 9]}"#);
        is(BEFORE, &[&change(2, "$.bb[last-1]", None)], r#"{"a": 1, "bb": [1, true]}"#);
        is(BEFORE, &[&change(1, "$.bb[last]", Some(&number(9)))], r#"{"a": 1, "bb": [1, 2, 9, true]}"#);
        assert!(changed(BEFORE, &[&change(2, "$.bb[last-3]", None)]).is_err());
    }

    #[test]
    fn what_is_removed_goes() {
        is(BEFORE, &[&change(2, "$.a", None), &change(2, "$.bb[0]", None)], r#"{"bb": [2, true]}"#);
        is(BEFORE, &[&change(2, "$.bb", None), &change(2, "$.a", None)], "{}");
    }

    #[test]
    fn changes_see_those_before() {
        let changes = [
            change(1, "$.c", Some(BEFORE)),
            change(2, "$.c.bb[2]", None),
            change(0, "$.c.bb[1]", Some(&number(3))),
            change(2, "$.a", None),
        ];
        let changes: Vec<&[u8]> = changes.iter().map(Vec::as_slice).collect();
        is(BEFORE, &changes, r#"{"c": {"a": 1, "bb": [1, 3]}, "bb": [1, 2, true]}"#);
    }

    #[test]
    fn what_has_no_place_is_refused() {
        for change in [
            change(0, "$.b", Some(&number(1))),
            change(0, "$", Some(&number(1))),
            change(0, "$.bb[3]", Some(&number(1))),
            change(0, "$.a[0]", Some(&number(1))),
            change(1, "$.a", Some(&number(1))),
            change(1, "$.a.b", Some(&number(1))),
            change(1, "$[0]", Some(&number(1))),
            change(2, "$.bb.a", None),
            change(2, "$.bb[3]", None),
            change(3, "$.a", None),
            change(0, "$.a", Some(&[0x0D])),
            vec![0, 3, b'$', b'.', b'a', 9],
            vec![0],
        ] {
            assert!(changed(BEFORE, &[&change]).is_err(), "{change:?}");
        }
    }

    /// An array of as many times the same large one, of which each change would take another apart.
    #[test]
    fn one_place_is_not_taken_apart_again_and_again() {
        let inner = [&[0xE8, 3, 0xBC, 11][..], &[4, 1, 0].repeat(1_000)].concat();
        let begin = 4_u16 + 3 * 200;
        let length = begin + u16::try_from(inner.len()).unwrap();
        let mut outer = [&[2][..], &200_u16.to_le_bytes(), &length.to_le_bytes()].concat();
        (0..200).for_each(|_| outer.extend([&[2][..], &begin.to_le_bytes()].concat()));
        outer.extend(inner);
        let changes: Vec<Vec<u8>> = (0..200).map(|at| change(2, &format!("$[{at}][0]"), None)).collect();
        let changes: Vec<&[u8]> = changes.iter().map(Vec::as_slice).collect();
        assert_eq!(changed(&outer, &changes), Err(Malformed("a JSON value holds the same one again")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(before: Vec<u8>, at in 0..BEFORE.len(), to: u8, what in 0..4_u8, path in "[$.\\[\\]a-b0-9\"\\\\]{0,9}", value: Vec<u8>) {
            let change = change(what, &path, (what < 2).then_some(value.get(..200).unwrap_or(&value)));
            drop(changed(&before, &[&value]));
            drop(changed(&before, &[&change]));
            let mut bytes = BEFORE.to_vec();
            bytes[at] = to;
            drop(changed(&bytes, &[&change, &self::change(2, "$.bb[0]", None)]));
        }
    }
}
