//! How well each type that is declared says what another system's column holds, for `docs/FIDELITY.md`.

use wavemark_connector::fidelity::Grade::{Exact, Text, Widened};
use wavemark_connector::fidelity::{Held, Odd, held};
use wavemark_domain::Logical;

const DAYS: &[(Odd, &str)] =
    &[(Odd::ZeroDay, "`0000-00-00`"), (Odd::ImpossibleDay, "other days that no calendar has, as `2024-02-31`")];
const TIMES: &[(Odd, &str)] = &[(Odd::LongTime, "what is below 0 or more than 24 hours")];
const TEXTS: &[(Odd, &str)] = &[(Odd::ZeroCharacter, "a text with a zero character")];
const DOCUMENTS: &[(Odd, &str)] = &[(Odd::ZeroCharacter, "a text with `\\u0000` in it")];

/// A word at this target; the type itself is [`super::of`]'s.
#[rustfmt::skip]
#[expect(clippy::match_same_arms, reason = "one row for each word")]
pub(crate) fn word(logical: &Logical) -> Held {
    match logical {
        Logical::Boolean                 => held(Exact,   &[],       ""),
        Logical::Int16                   => held(Exact,   &[],       ""),
        Logical::Int32                   => held(Exact,   &[],       ""),
        Logical::Int64                   => held(Exact,   &[],       ""),
        Logical::Uint64                  => held(Widened, &[],       ""),
        Logical::Decimal { .. }          => held(Exact,   &[],       ""),
        Logical::Float32                 => held(Exact,   &[],       ""),
        Logical::Float64                 => held(Exact,   &[],       ""),
        Logical::Text { .. }             => held(Exact,   TEXTS,     ""),
        Logical::Bytes                   => held(Exact,   &[],       ""),
        Logical::Date                    => held(Exact,   DAYS,      ""),
        Logical::Time { .. }             => held(Exact,   TIMES,     ""),
        Logical::Timestamp { .. }        => held(Exact,   DAYS,      ""),
        Logical::Instant { .. }          => held(Exact,   DAYS,      ""),
        Logical::Uuid                    => held(Exact,   &[],       ""),
        Logical::Json                    => held(Exact,   DOCUMENTS, "numbers keep all of their digits; of -0 `jsonb` makes 0"),
        Logical::Enum { .. }             => held(Text,    TEXTS,     ""),
        Logical::Set { .. }              => held(Text,    TEXTS,     ""),
        Logical::Bits { .. }             => held(Exact,   &[],       ""),
    }
}

#[cfg(test)]
mod tests {
    use wavemark_domain::{ColumnPlan, UnfitPolicy};

    use super::super::{declared, tests::all};
    use super::*;
    use crate::target::canonical::Canonical;

    /// Whether this side has a place for it; what is in a text the server judges.
    fn has_place(logical: &Logical, value: &[u8]) -> bool {
        let encoding = logical.encoding();
        let plan =
            ColumnPlan { source: 0, target_name: "c".into(), encoding, unfit: UnfitPolicy::default(), as_text: None };
        Canonical::of(&plan, &declared(logical)).is_none_or(|form| form.write(value, &mut Vec::new()).is_ok())
    }

    #[test]
    fn what_has_no_place_is_what_the_code_refuses() {
        for logical in all() {
            let lacks = word(&logical).lacks;
            for odd in Odd::ALL.into_iter().filter(|odd| *odd != Odd::ZeroCharacter) {
                let Some(value) = odd.example(&logical) else { continue };
                let is_told = lacks.iter().any(|(one, _)| *one == odd);
                assert_eq!(has_place(&logical, &value), !is_told, "{odd:?} of {logical}");
            }
        }
    }
}
