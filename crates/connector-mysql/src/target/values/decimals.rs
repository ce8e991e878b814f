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
}
