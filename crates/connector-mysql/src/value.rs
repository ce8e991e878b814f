//! A value as the server's bytes have it, of a row that is read and of one in the log.

use wavemark_domain::moment::Timestamp;

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    /// A number. In the log one without a sign comes so, too, as the bits that it has.
    Int(i64),
    Uint(u64),
    Float(f32),
    Double(f64),
    /// A date or a moment.
    Moment(Timestamp),
    /// Microseconds.
    Time(i64),
    /// Whatever else, as the server writes it.
    Bytes(&'a [u8]),
    /// Bytes as MariaDB's log has them of a column that is `COMPRESSED`.
    Deflated(&'a [u8]),
    /// What changed in a JSON value since the row before.
    Changes(&'a [u8]),
    /// A JSON value, and what changed in it.
    Changed(&'a [u8], &'a [u8]),
    /// A decimal, packed as the log has it.
    Packed(Packed<'a>),
    /// An enum's label by its number from 1 on; 0 for the empty text that stands for a wrong one.
    Ordinal(u16),
    /// A set's labels, a bit for each.
    Members(u64),
}

/// A decimal of so many digits, of which so many are behind the point: groups of nine digits in four bytes each, what is
/// left over in fewer, at either end; the first bit is set for what is not below zero, whose bits are else all turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) precision: u8,
    pub(crate) scale: u8,
}

/// How many bytes so many digits take that do not fill a group.
const LEFT_OVER: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// Digits in a group, and its bytes.
const GROUP: usize = 9;
const GROUP_BYTES: usize = 4;

impl Packed<'_> {
    /// How many bytes a decimal takes; `None` if there is none such.
    pub(crate) fn width(precision: u8, scale: u8) -> Option<usize> {
        let whole = usize::from(precision.checked_sub(scale)?);
        let behind = usize::from(scale);
        let bytes = |digits: usize| digits / GROUP * GROUP_BYTES + LEFT_OVER[digits % GROUP];
        (precision > 0).then(|| bytes(whole) + bytes(behind))
    }

    /// Writes it as text behind what `out` has; false if the bytes are none.
    pub(crate) fn write(self, out: &mut Vec<u8>) -> bool {
        let (whole, behind) = (usize::from(self.precision - self.scale), usize::from(self.scale));
        let Some(first) =
            self.bytes.first().filter(|_| Self::width(self.precision, self.scale) == Some(self.bytes.len()))
        else {
            return false;
        };
        let is_negative = first & 0x80 == 0;
        let mut rest = Groups { bytes: self.bytes, is_negative, is_first: true };
        if is_negative {
            out.push(b'-');
        }
        let begin = out.len();
        let mut done = rest.digits(whole % GROUP, out);
        for _ in 0..whole / GROUP {
            done &= rest.digits(GROUP, out);
        }
        // Zeros in front are not written, but for one.
        let zeros = out[begin..].iter().take_while(|digit| **digit == b'0').count();
        out.drain(begin..begin + zeros);
        if out.len() == begin {
            out.push(b'0');
        }
        if behind > 0 {
            out.push(b'.');
        }
        for _ in 0..behind / GROUP {
            done &= rest.digits(GROUP, out);
        }
        done && rest.digits(behind % GROUP, out)
    }
}

struct Groups<'a> {
    bytes: &'a [u8],
    is_negative: bool,
    is_first: bool,
}

impl Groups<'_> {
    /// The next group of so many digits; false if it has more.
    fn digits(&mut self, count: usize, out: &mut Vec<u8>) -> bool {
        let Some((taken, rest)) = self.bytes.split_at_checked(LEFT_OVER[count]) else { return false };
        let mut number = 0_u32;
        for byte in taken {
            let byte = if self.is_first { byte ^ 0x80 } else { *byte };
            self.is_first = false;
            number = number << 8 | u32::from(if self.is_negative { !byte } else { byte });
        }
        self.bytes = rest;
        let text = format!("{number:0count$}");
        if count > 0 {
            out.extend_from_slice(text.as_bytes());
        }
        text.len() == count || count == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8], precision: u8, scale: u8) -> Option<String> {
        let mut out = Vec::new();
        Packed { bytes, precision, scale }.write(&mut out).then(|| String::from_utf8(out).unwrap())
    }

    /// The first two are the examples of the server's own sources (`decimal2bin`): 1234567890.1234 as decimal(14,4).
    #[test]
    fn decimals_are_read_as_the_server_packs_them() {
        assert_eq!(text(&[0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2], 14, 4).unwrap(), "1234567890.1234");
        assert_eq!(text(&[0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D], 14, 4).unwrap(), "-1234567890.1234");
        assert_eq!(text(&[0x80, 0x00], 3, 0).unwrap(), "0");
        assert_eq!(text(&[0x85], 1, 0).unwrap(), "5");
        assert_eq!(text(&[0x80 ^ 0x05], 1, 1).unwrap(), "0.5");
        assert_eq!(text(&[0x7F, 0xFF], 3, 0).unwrap(), "-0");
    }

    #[test]
    fn a_width_is_known_for_each_that_there_is() {
        assert_eq!(Packed::width(14, 4), Some(7));
        assert_eq!(Packed::width(65, 30), Some(30));
        assert_eq!(Packed::width(0, 0), None);
        assert_eq!(Packed::width(3, 4), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, precision in 1..66_u8, scale in 0..31_u8) {
            prop_assume!(scale <= precision);
            let width = Packed::width(precision, scale).unwrap();
            let mut bytes = bytes;
            bytes.resize(width, 0);
            drop(text(&bytes, precision, scale));
        }
    }
}
