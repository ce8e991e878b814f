//! How well each type that is declared says what another system's column holds, for `docs/FIDELITY.md`.

use wavemark_connector::fidelity::Grade::{Exact, Text, Widened};
use wavemark_connector::fidelity::{Held, Odd, held};
use wavemark_domain::Logical;

use super::{Room, of};

const DAYS: &[(Odd, &str)] =
    &[(Odd::InfiniteDay, "infinities"), (Odd::FarYear, "years before 0 (1 BC) and after 9999")];
const FLOATS: &[(Odd, &str)] = &[
    (Odd::NotANumber, "`NaN`"),
    (Odd::InfiniteNumber, "infinities"),
    (Odd::NegativeZero, "-0 at MariaDB, which makes 0 of it"),
];
const DECIMALS: &[(Odd, &str)] = &[
    (Odd::NotANumber, "`NaN`"),
    (Odd::InfiniteNumber, "infinities"),
    (Odd::ManyDigits, "more than 35 digits before the point or 30 behind it"),
];
const DOCUMENTS: &[(Odd, &str)] = &[
    (Odd::WideNumber, "at MySQL a number that is neither a whole one of 64 bits nor exactly a `double`"),
    (Odd::DeepJson, "more than 100 levels of nesting at MySQL, 31 at MariaDB"),
];

/// A word at this target; the type itself is [`of`]'s.
#[rustfmt::skip]
#[expect(clippy::match_same_arms, reason = "one row for each word")]
pub(crate) fn word(logical: &Logical) -> Held {
    match logical {
        Logical::Boolean                  => held(Widened, &[],       ""),
        Logical::Int16                    => held(Exact,   &[],       ""),
        Logical::Int32                    => held(Exact,   &[],       ""),
        Logical::Int64                    => held(Exact,   &[],       ""),
        Logical::Uint64                   => held(Exact,   &[],       ""),
        Logical::Decimal { .. } if is_text(logical)
                                          => held(Text,    &[],       "a `decimal` has 65 digits at most, 30 of them behind the point"),
        Logical::Decimal { .. }           => held(Exact,   DECIMALS,  ""),
        Logical::Float32                  => held(Exact,   FLOATS,    ""),
        Logical::Float64                  => held(Exact,   FLOATS,    ""),
        Logical::Text { .. }              => held(Exact,   &[],       ""),
        Logical::Bytes                    => held(Exact,   &[],       ""),
        Logical::Date                     => held(Exact,   DAYS,      ""),
        Logical::Time { .. }              => held(Exact,   &[],       ""),
        Logical::Timestamp { .. }         => held(Exact,   DAYS,      ""),
        Logical::Instant { .. }           => held(Widened, DAYS,      "in UTC, of which the type says nothing: a `timestamp` there ends in 2038 or 2106"),
        Logical::Uuid                     => held(Text,    &[],       ""),
        Logical::Json                     => held(Exact,   DOCUMENTS, "MariaDB keeps the text"),
        Logical::Enum { .. }              => held(Text,    &[],       ""),
        Logical::Set { .. }               => held(Text,    &[],       ""),
        Logical::Bits { length: 1..=64 }  => held(Exact,   &[],       ""),
        Logical::Bits { .. }              => held(Text,    &[],       "as bytes, the last bit being the lowest of the last: a `bit` has 64 at most"),
    }
}

/// Whether the type that is declared is a text.
fn is_text(logical: &Logical) -> bool {
    of(logical, Room::Own).declared == "longtext"
}

#[cfg(test)]
mod tests {
    use wavemark_domain::{Column, ColumnPlan, UnfitPolicy};

    use super::super::tests::all;
    use super::*;
    use crate::defaults::Dialect;
    use crate::target::values::TargetColumn;

    fn has_place(logical: &Logical, dialect: Dialect, value: &[u8]) -> bool {
        let own = of(logical, Room::Own);
        let native = serde_json::json!(own.native);
        let column = Column { name: "c".into(), declared: own.declared, not_null: false, generated: false, native };
        let encoding = logical.encoding();
        let plan =
            ColumnPlan { source: 0, target_name: "c".into(), encoding, unfit: UnfitPolicy::default(), as_text: None };
        let column = TargetColumn::planned("c", &column, &plan, dialect).unwrap();
        column.has_place_for(value, &mut Vec::new())
    }

    /// How deeply JSON may be nested the server alone knows.
    #[test]
    fn what_has_no_place_is_what_the_code_refuses() {
        for logical in all() {
            let lacks = word(&logical).lacks;
            for odd in Odd::ALL.into_iter().filter(|odd| *odd != Odd::DeepJson) {
                let Some(value) = odd.example(&logical) else { continue };
                let of = |dialect| !has_place(&logical, dialect, &value);
                let told = lacks.iter().find(|(one, _)| *one == odd).map_or("", |(_, words)| *words);
                let (mysql, mariadb) = (!told.contains("at MariaDB"), !told.contains("at MySQL"));
                let expected = (mysql && !told.is_empty(), mariadb && !told.is_empty());
                assert_eq!((of(Dialect::Mysql), of(Dialect::Mariadb)), expected, "{odd:?} of {logical}");
            }
        }
    }

    #[test]
    fn more_digits_and_bits_than_there_are_have_another_type() {
        let decimal = |precision, scale| word(&Logical::Decimal { precision: Some(precision), scale: Some(scale) });
        assert_eq!((decimal(65, 30).grade, decimal(66, 0).grade, decimal(40, 31).grade), (Exact, Text, Text));
        let bits = |length| word(&Logical::Bits { length }).grade;
        assert_eq!((bits(64), bits(65)), (Exact, Text));
        // A text has a place for what no number is.
        let long = Logical::Decimal { precision: Some(66), scale: Some(0) };
        assert!(has_place(&long, Dialect::Mysql, b"NaN"));
    }
}
