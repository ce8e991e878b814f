//! JSON that MySQL's `json` keeps as it is. It has numbers of 64 bits, whole ones or doubles, and of two names that are the
//! same in one object it keeps one; other digits and the first value it would lose without a word. What it refuses by itself
//! (depth, size, halves of surrogate pairs) is not looked at.

use super::unfit::Unfit;
use crate::defaults::Dialect;

/// Objects and arrays that may be open at once; the server takes a hundred.
const DEEPEST: usize = 1_000;

/// Whether a server keeps a text that is JSON. MariaDB keeps the text itself.
pub(crate) fn is_kept(text: &str, dialect: Dialect) -> bool {
    dialect == Dialect::Mariadb || must_be_kept(text.as_bytes()).is_ok()
}

/// Whether the server keeps the value of every number and every name.
pub(super) fn must_be_kept(text: &[u8]) -> Result<(), Unfit> {
    std::str::from_utf8(text).map_err(|_| Unfit::Misshapen)?;
    let mut open: Vec<Open> = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => {
                let end = end_of_string(behind).ok_or(Unfit::NoJson)?;
                let (string, behind) = behind.split_at(end);
                if let Some(Open::Object { names, wants_name: wants_name @ true }) = open.last_mut() {
                    *wants_name = false;
                    names.push(name(string)?);
                }
                &behind[1..]
            }
            b'-' | b'0'..=b'9' => {
                let end = rest.iter().position(|byte| !is_of_number(*byte)).unwrap_or(rest.len());
                let (number, behind) = rest.split_at(end);
                must_be_exact(number)?;
                behind
            }
            b'{' | b'[' if open.len() == DEEPEST => return Err(Unfit::NoJson),
            b'{' => {
                open.push(Open::Object { names: Vec::new(), wants_name: true });
                behind
            }
            b'[' => {
                open.push(Open::Array);
                behind
            }
            b'}' | b']' => {
                open.pop().ok_or(Unfit::NoJson)?.end()?;
                behind
            }
            b',' => {
                if let Some(Open::Object { wants_name, .. }) = open.last_mut() {
                    *wants_name = true;
                }
                behind
            }
            _ => behind,
        };
    }
    Ok(())
}

/// What is not closed yet.
enum Open {
    Array,
    Object { names: Vec<Vec<u8>>, wants_name: bool },
}

impl Open {
    fn end(self) -> Result<(), Unfit> {
        let Self::Object { mut names, .. } = self else { return Ok(()) };
        names.sort_unstable();
        if names.windows(2).any(|two| two[0] == two[1]) { Err(Unfit::JsonName) } else { Ok(()) }
    }
}

/// Where the quote is that ends a string.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A name without its escapes, of which there is more than one for a character.
fn name(string: &[u8]) -> Result<Vec<u8>, Unfit> {
    if !string.contains(&b'\\') {
        return Ok(string.to_vec());
    }
    let quoted = [b"\"", string, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map(String::into_bytes).map_err(|_| Unfit::NoJson)
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

/// A whole number of 64 bits, or one that has the value that the server writes for the double nearest to it.
fn must_be_exact(number: &[u8]) -> Result<(), Unfit> {
    let text = std::str::from_utf8(number).map_err(|_| Unfit::NoJson)?;
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return Ok(());
    }
    let double: f64 = text.parse().map_err(|_| Unfit::NoJson)?;
    let kept = double.is_finite() && Digits::of(text) == Digits::of(&format!("{double:e}"));
    if kept { Ok(()) } else { Err(Unfit::JsonNumber) }
}

/// A number as its digits, without zeros at either end, and the power of ten of the first.
#[derive(Debug, PartialEq, Eq)]
struct Digits {
    negative: bool,
    significant: Vec<u8>,
    power: i64,
}

impl Digits {
    /// `None` if it is none, or has a power beyond all doubles.
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (text, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let power: i64 = power.parse::<i32>().ok()?.into();
        let (whole, behind) = text.split_once('.').unwrap_or((text, ""));
        let all = [whole.as_bytes(), behind.as_bytes()].concat();
        let zeros = all.iter().take_while(|digit| **digit == b'0').count();
        let mut significant = all[zeros..].to_vec();
        while significant.last() == Some(&b'0') {
            significant.pop();
        }
        if significant.is_empty() {
            return Some(Self { negative, significant, power: 0 });
        }
        let first = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()? - 1;
        Some(Self { negative, significant, power: power + first })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_64_bits_are_kept() {
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1.10",
            "-0",
            "-0.0",
            "1e2",
            "1E+2",
            "100000000000000000000",
            "0.30000000000000004",
            "5e-324",
            "1.7976931348623157e308",
            "[1, {\"a\": [2.5, \"123456789012345678901234567890\"]}]",
        ] {
            assert_eq!(must_be_kept(text.as_bytes()), Ok(()), "{text}");
        }
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "0.1000000000000000000001",
            "1e400",
            "1e-400",
            "1e99999999999",
            "[{\"a\": 123456789012345678901234567890.5}]",
        ] {
            assert_eq!(must_be_kept(text.as_bytes()), Err(Unfit::JsonNumber), "{text}");
        }
    }

    #[test]
    fn a_name_stands_once_in_an_object() {
        for text in [
            r#"{"a": 1, "b": {"a": 2}, "c": [{"a": 3}, {"a": 4}]}"#,
            r#"{"a": "a", "b": "a"}"#,
            r#"{"\"": 1, "\\": 2}"#,
            "{}",
        ] {
            assert_eq!(must_be_kept(text.as_bytes()), Ok(()), "{text}");
        }
        for text in [r#"{"a": 1, "a": 2}"#, r#"[{"x": {"é": 1, "\u00e9": 2}}]"#] {
            assert_eq!(must_be_kept(text.as_bytes()), Err(Unfit::JsonName), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_no_surprise() {
        for text in ["\"", "\"\\", "}", "{\"a\\", "1-2", "1.2.3", "{\"\\x\": 1}"] {
            assert!(must_be_kept(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(must_be_kept(&b"[".repeat(100_000)), Err(Unfit::NoJson));
        assert_eq!(must_be_kept(&[0xFF]), Err(Unfit::Misshapen));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "[\\[\\]{}\",:\\\\0-9eE.+-]{0,40}") {
            let _ = must_be_kept(&bytes);
            let _ = must_be_kept(text.as_bytes());
        }

        #[test]
        fn every_double_is_kept_as_it_is_shown(number: f64) {
            prop_assume!(number.is_finite());
            prop_assert_eq!(must_be_kept(format!("{number:e}").as_bytes()), Ok(()));
            prop_assert_eq!(must_be_kept(format!("{number}").as_bytes()), Ok(()));
        }
    }
}
