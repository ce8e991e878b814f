//! MariaDB's `inet4` and `inet6` in the log: the bytes of an address, as the text that the server writes of them.

use std::fmt::Write as _;

/// Writes an address of four or of sixteen bytes; false for any other number of them.
pub(crate) fn write(bytes: &[u8], out: &mut String) -> bool {
    if let Ok([a, b, c, d]) = <[u8; 4]>::try_from(bytes) {
        // Writing into a text does not fail.
        let _ = write!(out, "{a}.{b}.{c}.{d}");
        return true;
    }
    let Ok(bytes) = <[u8; 16]>::try_from(bytes) else { return false };
    let (pairs, _) = bytes.as_chunks::<2>();
    let words: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let gap = longest_gap(&words);
    let has_four = gap.start == 0 && (gap.len() == 6 || gap.len() == 5 && words[5] == 0xFFFF);
    let end = if has_four { 6 } else { 8 };
    let mut at = 0;
    while at < end {
        if gap.start == at && !gap.is_empty() {
            out.push_str(if at == 0 { "::" } else { ":" });
            at = gap.end;
            continue;
        }
        let _ = write!(out, "{:x}", words[at]);
        at += 1;
        if at < 8 {
            out.push(':');
        }
    }
    if has_four {
        write(&bytes[12..], out);
    }
    true
}

/// The first of the longest runs of zeros, which stands as two colons also where it is one.
fn longest_gap(words: &[u16]) -> std::ops::Range<usize> {
    let mut longest = 0..0;
    let mut run = 0..0;
    for (at, word) in words.iter().enumerate() {
        run = if *word != 0 { at + 1..at + 1 } else { run.start..at + 1 };
        if run.len() > longest.len() {
            longest = run.clone();
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is what MariaDB 10.11 says of it: `SELECT CAST(CAST(x'…' AS binary(16)) AS inet6)`.
    #[test]
    fn addresses_are_written_as_the_server_does() {
        for (hex, expected) in [
            ("0A000001", "10.0.0.1"),
            ("00000000", "0.0.0.0"),
            ("00000000000000000000000000000000", "::"),
            ("00000000000000000000000000000001", "::1"),
            ("00000000000000000000000000010000", "::0.1.0.0"),
            ("0000000000000000000000000A000001", "::10.0.0.1"),
            ("00000000000000000000FFFF0A000001", "::ffff:10.0.0.1"),
            ("00000000000000000000FFFE0A000001", "::fffe:a00:1"),
            ("20010DB8000000000000000000000001", "2001:db8::1"),
            ("20010DB8000000010002000300040005", "2001:db8::1:2:3:4:5"),
            ("20010000000000010000000000000001", "2001:0:0:1::1"),
            ("00010000000000020003000000000004", "1::2:3:0:0:4"),
            ("FE800000000000000000000000000000", "fe80::"),
            ("00010002000300040005000600070000", "1:2:3:4:5:6:7::"),
            ("00000002000300040005000600070008", "::2:3:4:5:6:7:8"),
            ("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let bytes: Vec<u8> =
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
            let mut out = String::new();
            assert!(write(&bytes, &mut out));
            assert_eq!(out, expected, "{hex}");
        }
        assert!(!write(&[1, 2, 3], &mut String::new()));
    }
}
