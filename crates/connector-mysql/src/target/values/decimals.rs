//! Decimals, digit by digit: the server rounds what is too fine, with a note at most.

use super::unfit::Unfit;

/// Writes a decimal that so many digits before the point and behind it hold.
pub(super) fn write(text: &[u8], whole: usize, scale: usize, unsigned: bool, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let (negative, digits) = parts(text)?;
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (before, behind) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    let before = &before[before.iter().take_while(|digit| **digit == b'0').count()..];
    let behind = &behind[..behind.len() - behind.iter().rev().take_while(|digit| **digit == b'0').count()];
    if before.len() > whole || behind.len() > scale {
        return Err(Unfit::TooManyDigits);
    }
    let is_zero = before.is_empty() && behind.is_empty();
    if negative && !is_zero {
        if unsigned {
            return Err(Unfit::OutOfRange);
        }
        out.push(b'-');
    }
    out.extend_from_slice(if before.is_empty() { b"0" } else { before });
    if !behind.is_empty() {
        out.push(b'.');
        out.extend_from_slice(behind);
    }
    Ok(())
}

/// The nearest decimal that so many digits before the point and behind it hold, a half going away from zero; `None` for what
/// is no number.
pub(super) fn nearest(text: &[u8], whole: usize, scale: usize, unsigned: bool) -> Option<Vec<u8>> {
    let infinite = matches!(text, b"Infinity" | b"-Infinity");
    let (negative, digits) = if infinite { (text[0] == b'-', &b"0"[..]) } else { parts(text).ok()? };
    if negative && unsigned {
        return Some(b"0".to_vec());
    }
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (before, behind) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    let before = &before[before.iter().take_while(|digit| **digit == b'0').count()..];
    // All digits that there may be, without the point.
    let kept = behind.iter().copied().chain(std::iter::repeat(b'0')).take(scale);
    let mut number: Vec<u8> = std::iter::once(b'0').chain(before.iter().copied()).chain(kept).collect();
    if behind.get(scale).is_some_and(|digit| *digit >= b'5') {
        let nines = number.iter().rev().take_while(|digit| **digit == b'9').count();
        let at = number.len() - nines;
        number[at..].fill(b'0');
        number[at - 1] += 1;
    }
    if infinite || number.len() - number.iter().take_while(|digit| **digit == b'0').count() > whole + scale {
        number = vec![b'9'; whole + scale];
    }
    let (before, behind) = number.split_at(number.len() - scale);
    let sign = negative.then_some(b'-').into_iter();
    let point = (scale > 0).then_some(b'.').into_iter();
    let before = if before.is_empty() { b"0" } else { before };
    Some(sign.chain(before.iter().copied()).chain(point).chain(behind.iter().copied()).collect())
}

/// Whether it is below zero, and its digits with a point or without.
fn parts(text: &[u8]) -> Result<(bool, &[u8]), Unfit> {
    if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
        return Err(Unfit::NotANumber);
    }
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let (before, behind) = match digits.iter().position(|byte| *byte == b'.') {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &digits[..0]),
    };
    let has_digits = !before.is_empty() || !behind.is_empty();
    if !has_digits || !before.iter().chain(behind).all(u8::is_ascii_digit) {
        return Err(Unfit::Misshapen);
    }
    Ok((negative, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, whole: usize, scale: usize) -> Result<String, Unfit> {
        let mut out = Vec::new();
        write(text.as_bytes(), whole, scale, false, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_decimal_fits_if_its_digits_do() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            ("12.30", "12.3"),
            ("-12.345000", "-12.345"),
            ("999.999", "999.999"),
            (".5", "0.5"),
        ] {
            assert_eq!(written(text, 3, 3).as_deref(), Ok(expected), "{text}");
        }
        for text in ["1000", "-1000.5", "0.0001", "1.23456"] {
            assert_eq!(written(text, 3, 3), Err(Unfit::TooManyDigits), "{text}");
        }
        for text in ["", "-", ".", "1e5", "1.2.3", "+1", "x", "--1"] {
            assert_eq!(written(text, 3, 3), Err(Unfit::Misshapen), "{text}");
        }
        for text in ["NaN", "Infinity", "-Infinity"] {
            assert_eq!(written(text, 3, 3), Err(Unfit::NotANumber), "{text}");
        }
        let mut out = Vec::new();
        assert_eq!(write(b"-1", 3, 0, true, &mut out), Err(Unfit::OutOfRange));
        assert_eq!(write(b"-0", 3, 0, true, &mut out), Ok(()));
    }

    #[test]
    fn the_nearest_decimal_has_no_more_digits() {
        for (text, whole, scale, expected) in [
            ("1000", 3, 2, "999.99"),
            ("-1000", 3, 2, "-999.99"),
            ("Infinity", 3, 0, "999"),
            ("-Infinity", 2, 2, "-99.99"),
            ("12.344", 3, 2, "012.34"),
            ("12.345", 3, 2, "012.35"),
            ("-0.005", 3, 2, "-0.01"),
            ("9.999", 3, 2, "10.00"),
            ("999.994", 3, 2, "0999.99"),
            ("999.995", 3, 2, "999.99"),
            ("0.5", 0, 1, "0.5"),
            ("3", 0, 1, "0.9"),
            ("1.5", 5, 0, "02"),
        ] {
            let nearest = nearest(text.as_bytes(), whole, scale, false).unwrap();
            assert_eq!(String::from_utf8(nearest.clone()).unwrap(), expected, "{text}");
            assert!(write(&nearest, whole, scale, false, &mut Vec::new()).is_ok(), "{text}");
        }
        assert_eq!(nearest(b"NaN", 3, 2, false), None);
        assert_eq!(nearest(b"-7", 3, 2, true).as_deref(), Some(&b"0"[..]));
        assert_eq!(nearest(b"-Infinity", 3, 2, true).as_deref(), Some(&b"0"[..]));
    }
}
