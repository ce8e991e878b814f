//! How well each type is kept between two systems. The tables of `docs/FIDELITY.md` are generated from it.
//!
//! A source says of each of its types what the word that it travels as makes of it ([`Given`]); a target says of each word what
//! the type that it declares makes of that ([`Held`]). What a pair keeps follows from the two: the grade is the worse one, and
//! no place have those values that the one has and the other lacks.

use std::fmt;

use wavemark_domain::moment::{DAY, Date, Timestamp};
use wavemark_domain::{Column, Logical};

/// How well a type is kept, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// By a type that means the same.
    Exact,
    /// By a type that has more values, or says less of them.
    Widened,
    /// By its text, or by its bytes: the type is none of its own kind.
    Text,
    /// Not at all.
    Refused,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Widened => "widened",
            Self::Text => "text",
            Self::Refused => "refused",
        })
    }
}

/// Values that not every system has a place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// `0000-00-00`.
    ZeroDay,
    /// A month or day 0, or a day that the month lacks: `2024-02-31`.
    ImpossibleDay,
    /// A day or moment that is later or earlier than all others.
    InfiniteDay,
    /// A year before 0 or after 9999.
    FarYear,
    /// A time below 0 or of more than 24 hours.
    LongTime,
    /// `NaN`.
    NotANumber,
    /// An infinite number.
    InfiniteNumber,
    /// A floating -0.
    NegativeZero,
    /// More than 65 digits, or more than 30 behind the point.
    ManyDigits,
    /// A text, or a text in JSON, with U+0000.
    ZeroCharacter,
    /// A number in JSON that is neither a whole one of 64 bits nor exactly a `double`.
    WideNumber,
    /// JSON nested more deeply than a hundred times.
    DeepJson,
}

impl Odd {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ZeroDay,
        Self::ImpossibleDay,
        Self::InfiniteDay,
        Self::FarYear,
        Self::LongTime,
        Self::NotANumber,
        Self::InfiniteNumber,
        Self::NegativeZero,
        Self::ManyDigits,
        Self::ZeroCharacter,
        Self::WideNumber,
        Self::DeepJson,
    ];

    /// Such a value in the form of a word, for a target's tests; none if the word has none.
    #[must_use]
    pub fn example(self, logical: &Logical) -> Option<Vec<u8>> {
        match logical {
            Logical::Date => self.day().map(|date| date.to_bytes().to_vec()),
            Logical::Timestamp { .. } | Logical::Instant { .. } => {
                self.day().map(|date| Timestamp { date, micros: 0 }.to_bytes().to_vec())
            }
            Logical::Time { .. } => (self == Self::LongTime).then(|| (DAY + 1_000_000).to_be_bytes().to_vec()),
            Logical::Float32 => self.float().map(|number| number.to_be_bytes().to_vec()),
            Logical::Float64 => self.float().map(|number| f64::from(number).to_be_bytes().to_vec()),
            Logical::Decimal { .. } => self.decimal(),
            Logical::Text { .. } => (self == Self::ZeroCharacter).then(|| vec![0]),
            Logical::Json => self.json(),
            _ => None,
        }
    }

    fn day(self) -> Option<Date> {
        let date = |year, month, day| Some(Date { year, month, day });
        match self {
            Self::ZeroDay => date(0, 0, 0),
            Self::ImpossibleDay => date(2024, 2, 31),
            Self::InfiniteDay => date(i32::MAX, 0, 0),
            Self::FarYear => date(-43, 3, 15),
            _ => None,
        }
    }

    fn float(self) -> Option<f32> {
        match self {
            Self::NotANumber => Some(f32::NAN),
            Self::InfiniteNumber => Some(f32::INFINITY),
            Self::NegativeZero => Some(-0.0),
            _ => None,
        }
    }

    fn decimal(self) -> Option<Vec<u8>> {
        match self {
            Self::NotANumber => Some(b"NaN".to_vec()),
            Self::InfiniteNumber => Some(b"-Infinity".to_vec()),
            Self::ManyDigits => Some("9".repeat(66).into_bytes()),
            _ => None,
        }
    }

    fn json(self) -> Option<Vec<u8>> {
        match self {
            Self::ZeroCharacter => Some(br#""\u0000""#.to_vec()),
            Self::WideNumber => Some(b"18446744073709551616.5".to_vec()),
            Self::DeepJson => Some(["[".repeat(101), "]".repeat(101)].concat().into_bytes()),
            _ => None,
        }
    }
}

/// A type of a source.
#[derive(Clone, Debug)]
pub struct Given {
    /// An example as the server writes it, or in words what it stands for.
    pub name: String,
    /// A column of it, as the source's catalog tells it.
    pub column: Column,
    /// How well the word that it travels as says it.
    pub grade: Grade,
    /// The odd values that it has.
    pub has: &'static [Odd],
    /// What else there is to say.
    pub remark: &'static str,
}

/// A word at a target.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// How well the type that is declared says it.
    pub grade: Grade,
    /// The odd values that have no place there, in this system's words.
    pub lacks: &'static [(Odd, &'static str)],
    /// What else there is to say.
    pub remark: &'static str,
}

/// One row of a target's table of words.
#[must_use]
pub const fn held(grade: Grade, lacks: &'static [(Odd, &'static str)], remark: &'static str) -> Held {
    Held { grade, lacks, remark }
}

/// A line of a table: what becomes of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The source's type.
    pub name: String,
    /// The word that it travels as; none if it does not.
    pub travels: Option<Logical>,
    /// The target's type as it is declared; none if it does not travel, and where it is the same as the source's.
    pub target: Option<String>,
    /// What of it is kept.
    pub fate: Fate,
}

/// What of a type is kept between two systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The worse of both grades.
    pub grade: Grade,
    /// Both remarks, then what has no place.
    pub remark: String,
}

/// What becomes of a source's type; `held` is what the target does with the word that it travels as, `None` if there is none.
#[must_use]
pub fn fate(given: &Given, held: Option<&Held>) -> Fate {
    let Some(held) = held else { return Fate { grade: Grade::Refused, remark: given.remark.to_owned() } };
    let lacks: Vec<&str> =
        held.lacks.iter().filter(|(odd, _)| given.has.contains(odd)).map(|(_, words)| *words).collect();
    let no_place = if lacks.is_empty() { String::new() } else { format!("no place: {}", lacks.join(", ")) };
    let remarks = [given.remark, held.remark, &no_place];
    let told: Vec<&str> = remarks.into_iter().filter(|text| !text.is_empty()).collect();
    Fate { grade: given.grade.max(held.grade), remark: told.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_keeps_what_both_keep() {
        let column = Column {
            name: "c".into(),
            declared: String::new(),
            not_null: false,
            generated: false,
            native: serde_json::Value::Null,
        };
        let given = Given {
            name: "date".into(),
            column,
            grade: Grade::Widened,
            has: &[Odd::ZeroDay, Odd::FarYear],
            remark: "one",
        };
        let held = |grade, lacks, remark| Held { grade, lacks, remark };
        let of = |held: Option<&Held>| {
            let Fate { grade, remark } = fate(&given, held);
            format!("{grade}: {remark}")
        };
        let lacks = &[(Odd::ZeroDay, "zero"), (Odd::InfiniteDay, "infinity"), (Odd::FarYear, "years")];
        assert_eq!(of(Some(&held(Grade::Exact, lacks, "other"))), "widened: one; other; no place: zero, years");
        assert_eq!(of(Some(&held(Grade::Text, &[], ""))), "text: one");
        assert_eq!(of(None), "refused: one");
    }
}
