//! Names with wildcards: `%` any run of characters, `_` one character, `[ab]` and `[a-d]` one of them.
//! Case counts, as it does in the source.

/// One parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Exactly(char),
    One,
    Any,
    OneOf(Vec<(char, char)>),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            parts.push(match character {
                '%' => Part::Any,
                '_' => Part::One,
                '[' => Part::OneOf(parse_set(&mut rest)?),
                other => Part::Exactly(other),
            });
        }
        parts.dedup_by(|second, first| *first == Part::Any && *second == Part::Any);
        Ok(Self(parts))
    }

    /// Whether it names one thing only: no wildcard in it.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.0.iter().all(|part| match part {
            Part::Exactly(_) => true,
            Part::OneOf(ranges) => matches!(ranges.as_slice(), [(low, high)] if low == high),
            Part::One | Part::Any => false,
        })
    }

    /// Whether a whole name fits. Takes at most the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut part, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while at < name.len() {
            match self.0.get(part) {
                Some(Part::Any) => {
                    retry = Some((part + 1, at));
                    part += 1;
                }
                Some(one) if one.takes(name[at]) => {
                    part += 1;
                    at += 1;
                }
                _ => {
                    let Some((after, from)) = retry else { return false };
                    retry = Some((after, from + 1));
                    part = after;
                    at = from + 1;
                }
            }
        }
        self.0[part..].iter().all(|rest| *rest == Part::Any)
    }
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Exactly(exactly) => *exactly == character,
            Self::One => true,
            Self::Any => false,
            Self::OneOf(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)),
        }
    }
}

fn parse_set(rest: &mut std::str::Chars<'_>) -> Result<Vec<(char, char)>, String> {
    let mut members = Vec::new();
    loop {
        match rest.next() {
            Some(']') if !members.is_empty() => break,
            Some(member) => members.push(member),
            None => return Err("has a [ without its ]".to_owned()),
        }
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        if members.get(at + 1) == Some(&'-') && at + 2 < members.len() {
            let (low, high) = (members[at], members[at + 2]);
            if low > high {
                return Err(format!("has the range [{low}-{high}] backwards"));
            }
            ranges.push((low, high));
            at += 3;
        } else {
            ranges.push((members[at], members[at]));
            at += 1;
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn wildcards_match_as_dms_says() {
        for (pattern, name, expected) in [
            ("%", "", true),
            ("%", "orders", true),
            ("ord%", "orders", true),
            ("%s", "orders", true),
            ("o%d%s", "orders", true),
            ("o%d%x", "orders", false),
            ("my_table", "myXtable", true),
            ("my_table", "mytable", false),
            ("my[_]table", "myXtable", false),
            ("my[_]table", "my_table", true),
            ("100[%]", "100%", true),
            ("100[%]", "1000", false),
            ("t[ab]", "tb", true),
            ("t[a-d]x", "tcx", true),
            ("t[a-d]x", "tex", false),
            ("t[a-]", "t-", true),
            ("[]]", "]", true),
            ("Orders", "orders", false),
            ("%%%", "any", true),
            ("größe_", "größe1", true),
            ("a%b%c%d", "aXXbXXcXX", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn what_is_not_a_pattern_is_refused() {
        assert_eq!(Pattern::parse("").unwrap_err(), "must not be empty");
        assert_eq!(Pattern::parse("a[b").unwrap_err(), "has a [ without its ]");
        assert_eq!(Pattern::parse("[z-a]").unwrap_err(), "has the range [z-a] backwards");
    }

    #[test]
    fn only_a_name_without_wildcards_is_exact() {
        assert!(Pattern::parse("my[_]table").unwrap().is_exact());
        assert!(!Pattern::parse("my_table").unwrap().is_exact());
        assert!(!Pattern::parse("t[ab]").unwrap().is_exact());
    }
}
