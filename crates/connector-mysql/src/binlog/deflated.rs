//! Values of `MariaDB`'s columns that are `COMPRESSED` (server sources: `Field_longstr::compress`, `compress_zlib`). The log has
//! them as the storage engine does.
//!
//! A value that is not empty begins with a byte: how it is compressed (the upper half; 0 for not at all, 8 for zlib), whether
//! the compressed data are without zlib's head and sum (8), and how many bytes its length takes that it has when it
//! is not compressed (the rest). That length follows, the highest byte first.

use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use crate::fields::{Fields, Malformed};

const ZLIB: u8 = 8;
const WITHOUT_HEAD: u8 = 0x08;

/// The value as it was before it was compressed, of at most so many bytes; `out` is where it comes to stand if it has to be unpacked.
pub(crate) fn inflate<'a>(bytes: &'a [u8], most: u64, out: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let Some((how, rest)) = bytes.split_first() else { return Ok(bytes) };
    match how >> 4 {
        0 => Ok(rest),
        ZLIB => unpack(*how, Fields(rest), most, out).map(|()| &out[..]),
        _ => Err(Malformed("a value is compressed in a way that is not known")),
    }
}

/// What is said of the length is not believed: room is made for what comes, up to that length.
fn unpack(how: u8, mut fields: Fields<'_>, most: u64, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let width = usize::from(how & 0x07);
    let length = fields.take(width)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if length > most {
        return Err(Malformed("a compressed value is larger than its column takes"));
    }
    out.clear();
    let read = if how & WITHOUT_HEAD == 0 {
        ZlibDecoder::new(fields.0).take(length + 1).read_to_end(out)
    } else {
        DeflateDecoder::new(fields.0).take(length + 1).read_to_end(out)
    };
    match read {
        Ok(read) if read as u64 == length => Ok(()),
        Ok(_) => Err(Malformed("a compressed value has another length than it says")),
        Err(_) => Err(Malformed("a compressed value can't be unpacked")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn plain(bytes: &[u8], most: u64) -> Result<Vec<u8>, Malformed> {
        inflate(bytes, most, &mut Vec::new()).map(<[u8]>::to_vec)
    }

    /// `repeat('aä', 400)` and `repeat('y', 3000)` as MariaDB 10.11 writes them.
    const WORDS: [u8; 18] =
        [0x8A, 4, 0xB0, 0x4B, 0x3C, 0xBC, 0x24, 0x71, 0x14, 0x8D, 0xA2, 0x51, 0x34, 0x8A, 0x86, 2, 2, 0];
    const LONG: [u8; 23] = [
        0x8A, 0x0B, 0xB8, 0xED, 0xC1, 0x31, 1, 0, 0, 0, 0xC2, 0xA0, 0xDC, 0x6B, 0x6F, 0x0D, 0x0F, 0xA0, 0, 0, 0x80,
        0x77, 3,
    ];

    #[test]
    fn a_value_is_unpacked_as_the_server_has_it() {
        assert_eq!(plain(&WORDS, 4_000).unwrap(), "aä".repeat(400).as_bytes());
        assert_eq!(plain(&LONG, 65_535).unwrap(), "y".repeat(3_000).as_bytes());
        assert_eq!(plain(&[0, b'x'], 40).unwrap(), b"x");
        assert_eq!(plain(&[], 40).unwrap(), b"");
        assert_eq!(plain(&[0], 40).unwrap(), b"");
    }

    #[test]
    fn a_value_with_the_head_and_sum_of_zlib_is_unpacked() {
        let mut bytes = vec![0x81, 50];
        let mut encoder = ZlibEncoder::new(&mut bytes, Compression::default());
        encoder.write_all(&[7; 50]).unwrap();
        encoder.finish().unwrap();
        assert_eq!(plain(&bytes, 50).unwrap(), [7; 50]);
        *bytes.last_mut().unwrap() ^= 1;
        assert!(plain(&bytes, 50).is_err());
    }

    #[test]
    fn another_length_than_is_said_or_than_fits_is_refused() {
        for said in [[4, 0xAF], [4, 0xB1], [0, 0], [0xFF, 0xFF]] {
            let mut bytes = WORDS;
            bytes[1..3].copy_from_slice(&said);
            assert!(plain(&bytes, u64::MAX).is_err(), "{said:?}");
        }
        assert!(plain(&WORDS, 1_199).is_err());
        for cut in 1..WORDS.len() {
            assert!(plain(&WORDS[..cut], 4_000).is_err(), "{cut}");
        }
        for how in [0x10, 0x7A, 0x92, 0xFF] {
            assert!(plain(&[&[how][..], &WORDS[1..]].concat(), 4_000).is_err(), "{how}");
        }
    }

    #[test]
    fn what_unpacks_to_more_than_it_says_is_not_unpacked() {
        let mut bytes = vec![0x89, 9];
        let mut encoder = DeflateEncoder::new(&mut bytes, Compression::best());
        encoder.write_all(&vec![0; 50_000_000]).unwrap();
        encoder.finish().unwrap();
        let mut out = Vec::new();
        assert!(inflate(&bytes, u64::MAX, &mut out).is_err());
        assert!(out.capacity() < 1_000, "{}", out.capacity());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(how: u8, bytes: Vec<u8>, most: u64) {
            drop(plain(&bytes, most));
            drop(plain(&[&[0x80 | how][..], &bytes].concat(), most));
        }
    }
}
