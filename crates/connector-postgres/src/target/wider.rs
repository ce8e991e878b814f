//! Columns of target tables that are wider than the source's: each value of the source has exactly one there.
//!
//! Types are compared as the server writes them (`format_type`), taken apart into a name and its modifiers. Where the two
//! types have one binary form, values go as they came; elsewhere they come in the source's type and the server casts
//! them in the statement, for it knows how, and a COPY goes through a staging table.

use wavemark_domain::{ColumnPlan, TablePlan};

use super::declare;
use crate::native::{ColumnNative, TableNative, TypeCategory, TypeShape};

/// A pair of types, without modifiers, that hold the same in two binary forms.
struct Wider {
    /// The source's, and its number, which is the same in every database.
    from: (&'static str, u32),
    to: &'static str,
    /// How many digits before the point the wider one must have, if it counts them.
    digits: i32,
    /// The source's value of a target's column `{}`: NULL if it is none. For comparisons; of a `character` it is padded.
    back: &'static str,
}

const fn wider(from: (&'static str, u32), to: &'static str, digits: i32, back: &'static str) -> Wider {
    Wider { from, to, digits, back }
}

const SMALLINT: (&str, u32) = ("smallint", 21);
const INTEGER: (&str, u32) = ("integer", 23);
const BIGINT: (&str, u32) = ("bigint", 20);
const REAL: (&str, u32) = ("real", 700);
const CHARACTER: (&str, u32) = ("character", 1042);

const IN_SMALLINT: &str = "CASE WHEN {} BETWEEN -32768 AND 32767 THEN {}::smallint END";
const IN_INTEGER: &str = "CASE WHEN {} BETWEEN -2147483648 AND 2147483647 THEN {}::integer END";
/// From the smallest to the largest `real` there is.
const IN_REAL: &str = "CASE WHEN {} = 0 OR abs({}) BETWEEN 1.401298464324817e-45 AND 3.4028234663852886e+38 \
    OR {}::text IN ('NaN', 'Infinity', '-Infinity') THEN {}::real END";

const CAST: [Wider; 9] = [
    wider(SMALLINT, "integer", 0, IN_SMALLINT),
    wider(SMALLINT, "bigint", 0, IN_SMALLINT),
    wider(SMALLINT, "numeric", 5, "CASE WHEN {} BETWEEN -32768 AND 32767 AND scale({}) = 0 THEN {}::smallint END"),
    wider(INTEGER, "bigint", 0, IN_INTEGER),
    wider(
        INTEGER,
        "numeric",
        10,
        "CASE WHEN {} BETWEEN -2147483648 AND 2147483647 AND scale({}) = 0 THEN {}::integer END",
    ),
    wider(
        BIGINT,
        "numeric",
        19,
        "CASE WHEN {} BETWEEN -9223372036854775808 AND 9223372036854775807 AND scale({}) = 0 THEN {}::bigint END",
    ),
    wider(REAL, "double precision", 0, IN_REAL),
    // The server's own cast: blanks at the end of a `character` mean nothing and don't go along.
    wider(CHARACTER, "text", 0, ""),
    wider(CHARACTER, "character varying", 0, ""),
];

/// How the modifiers of two types with one binary form must relate.
enum Room {
    /// None at all there.
    Unlimited,
    /// At least as many; none means any number.
    Length,
    /// As many digits after the point, and at least as many in all.
    Digits,
}

/// Pairs of types that have one binary form.
const SAME_FORM: [(&str, &str, Room); 14] = [
    ("character varying", "character varying", Room::Length),
    ("character varying", "text", Room::Unlimited),
    ("text", "character varying", Room::Unlimited),
    ("character", "character", Room::Length),
    ("bit", "bit varying", Room::Length),
    ("bit varying", "bit varying", Room::Length),
    ("numeric", "numeric", Room::Digits),
    ("timestamp without time zone", "timestamp without time zone", Room::Length),
    ("timestamp with time zone", "timestamp with time zone", Room::Length),
    ("time without time zone", "time without time zone", Room::Length),
    ("time with time zone", "time with time zone", Room::Length),
    ("interval", "interval", Room::Length),
    // An enum's binary form is its label.
    (ENUM, "text", Room::Unlimited),
    (ENUM, "character varying", Room::Unlimited),
];

/// Stands for every enum. No type has such a name.
const ENUM: &str = "an enum";

/// The types that values to be cast come in.
pub(crate) fn oids() -> impl Iterator<Item = u32> {
    CAST.iter().map(|pair| pair.from.1)
}

/// How the values of a planned column go into a column of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fit {
    /// The number of the type in which they come, if the server must cast them.
    pub(crate) cast: Option<u32>,
    /// The source's value of a target's column `{}`, if that isn't just the column: NULL if it is none.
    back: Option<String>,
}

impl Fit {
    /// What the source has for a column of the target, as an expression.
    pub(crate) fn back(&self, column: &str) -> Option<String> {
        self.back.as_ref().map(|back| back.replace("{}", column))
    }
}

/// How a planned column goes into one that the target declares so; `None` if not every value has exactly one there.
pub(crate) fn fit(plan: &TablePlan, column: &ColumnPlan, there: &str) -> Option<Fit> {
    let source = &plan.in_target().columns[column.source];
    if source.declared == there {
        return Some(Fit::default());
    }
    // A table that is there already may have the type that holds but most of them.
    let own = column.as_text.as_ref().map(declare::declared);
    if let Some(fit) = own.filter(|own| own == there).map(|_| Fit::default()) {
        return Some(fit);
    }
    let native = ColumnNative::of(source).ok()?;
    let (category, declared) = base(plan, &native, &source.declared)?;
    if declared == there {
        return Some(Fit::default());
    }
    let name = if category == TypeCategory::Enum { ENUM.to_owned() } else { declared };
    fit_declared(&name, there)
}

/// What a column's type is under its domains, and how the server writes that.
fn base(plan: &TablePlan, native: &ColumnNative, declared: &str) -> Option<(TypeCategory, String)> {
    let (mut of, mut declared) = (&native.r#type, declared.to_owned());
    while of.category == TypeCategory::Domain {
        let types = TableNative::of(plan.in_target()).ok()?.types;
        let found = types.into_iter().find(|definition| definition.name == of.name)?;
        let TypeShape::Domain { declared: under, .. } = found.shape else { return None };
        (of, declared) = (of.inner.as_deref()?, under);
    }
    Some((of.category, declared))
}

fn fit_declared(from: &str, to: &str) -> Option<Fit> {
    let ((from, narrow), (to, wide)) = (parts(from)?, parts(to)?);
    // Padded as the source has it.
    let padded =
        (from == CHARACTER.0).then(|| narrow.first().map(|length| format!("{{}}::character({length})"))).flatten();
    if SAME_FORM.iter().any(|(a, b, room)| *a == from && *b == to && room.fits(&narrow, &wide)) {
        return Some(Fit { cast: None, back: padded });
    }
    let cast = CAST.iter().find(|pair| pair.from.0 == from && pair.to == to)?;
    let holds = match (cast.to, wide.as_slice()) {
        (_, []) => true,
        ("numeric", [digits, 0]) => *digits >= cast.digits,
        ("character varying", [length]) => narrow.first().is_some_and(|narrow| length >= narrow),
        _ => false,
    };
    holds.then(|| Fit { cast: Some(cast.from.1), back: padded.or_else(|| Some(cast.back.to_owned())) })
}

impl Room {
    fn fits(&self, narrow: &[i32], wide: &[i32]) -> bool {
        match (self, narrow, wide) {
            (_, _, []) => true,
            (Self::Length, [narrow], [wide]) => narrow <= wide,
            (Self::Digits, [narrow, after], [wide, after_there]) => narrow <= wide && after == after_there,
            _ => false,
        }
    }
}

/// `timestamp(3) without time zone` is `timestamp without time zone` and 3. `None` for what has an array's brackets.
fn parts(declared: &str) -> Option<(String, Vec<i32>)> {
    if declared.ends_with(']') {
        return None;
    }
    let Some((before, rest)) = declared.split_once('(') else { return Some((declared.to_owned(), Vec::new())) };
    let (inside, after) = rest.split_once(')')?;
    let modifiers = inside.split(',').map(|one| one.trim().parse().ok()).collect::<Option<Vec<i32>>>()?;
    Some((format!("{before}{after}"), modifiers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_every_value_of_the_source_is_wide_enough() {
        for (from, to) in [
            ("character varying(10)", "character varying(10)"),
            ("character varying(10)", "character varying(11)"),
            ("character varying(10)", "character varying"),
            ("character varying(10)", "text"),
            ("text", "character varying"),
            ("character(4)", "character(5)"),
            ("bit(4)", "bit varying(4)"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("numeric(10,2)", "numeric"),
            ("timestamp(3) without time zone", "timestamp(6) without time zone"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("time(0) without time zone", "time without time zone"),
            ("interval(3)", "interval"),
            (ENUM, "text"),
        ] {
            assert_eq!(fit_declared(from, to).unwrap().cast, None, "{from} to {to}");
        }
        for (from, to) in [
            ("smallint", "integer"),
            ("smallint", "bigint"),
            ("smallint", "numeric(5,0)"),
            ("integer", "bigint"),
            ("integer", "numeric"),
            ("bigint", "numeric(19,0)"),
            ("real", "double precision"),
            ("character(4)", "text"),
            ("character(4)", "character varying(4)"),
        ] {
            assert!(fit_declared(from, to).unwrap().cast.is_some(), "{from} to {to}");
        }
    }

    #[test]
    fn each_pair_stands_in_the_manual() {
        const MANUAL: &str = include_str!("../../../../docs/OPERATING.md");
        let rows: Vec<&str> =
            MANUAL.lines().filter(|line| line.starts_with("| `") || line.starts_with("| an")).collect();
        let stands = |from: &str, to: &str| {
            rows.iter().any(|row| {
                let mut cells = row.split('|').skip(1);
                let (left, right) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
                left.contains(from) && (right.contains(to) || (from == to && right.contains("the same")))
            })
        };
        for (from, to) in
            CAST.iter().map(|pair| (pair.from.0, pair.to)).chain(SAME_FORM.iter().map(|(a, b, _)| (*a, *b)))
        {
            let plain = |name: &'static str| name.split(" with").next().unwrap_or(name);
            assert!(stands(plain(from), plain(to)), "{from} to {to}");
        }
    }

    #[test]
    fn what_changes_or_refuses_some_value_is_not() {
        for (from, to) in [
            ("integer", "smallint"),
            ("bigint", "integer"),
            ("bigint", "numeric(18,0)"),
            ("integer", "numeric(12,2)"),
            ("integer", "real"),
            ("bigint", "double precision"),
            ("double precision", "real"),
            ("numeric(10,2)", "numeric(9,2)"),
            ("numeric(10,2)", "numeric(12,3)"),
            ("numeric(10,2)", "numeric(12,1)"),
            ("numeric", "numeric(100,2)"),
            ("numeric(10,2)", "double precision"),
            ("text", "character varying(1000)"),
            ("character varying(10)", "character varying(9)"),
            ("character varying", "character varying(9)"),
            ("character varying(10)", "character(10)"),
            ("character(4)", "character varying(3)"),
            ("timestamp without time zone", "timestamp(3) without time zone"),
            ("timestamp without time zone", "timestamp with time zone"),
            ("interval", "interval day"),
            ("interval day", "interval"),
            ("date", "timestamp without time zone"),
            ("integer[]", "bigint[]"),
            ("character varying(3)[]", "text[]"),
            ("jsonb", "json"),
            (ENUM, "character varying(3)"),
        ] {
            assert_eq!(fit_declared(from, to), None, "{from} to {to}");
        }
    }
}
