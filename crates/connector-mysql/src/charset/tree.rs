//! What the bytes of a character set are, as a tree: a node for each byte in front that is no character by itself.

use std::collections::HashSet;

/// A node of a tree, by the byte that comes: a character, another node, or nothing.
type Node = Box<[u32; 256]>;

const NOTHING: u32 = u32::MAX;
/// Added to the number of a node.
const NODE: u32 = 1 << 31;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// The first is the root.
    nodes: Vec<Node>,
    /// Whether each character of ASCII is the byte that it is there.
    has_ascii: bool,
    /// Whether what stands for the planes beyond the first is computed: `gb18030`.
    has_planes: bool,
    /// Characters that more than one row of bytes stands for.
    ambiguous: HashSet<char>,
}

impl Tree {
    /// Of characters, each with its bytes: one to four of them, none the beginning of another.
    pub(crate) fn of(characters: impl IntoIterator<Item = (Vec<u8>, char)>, has_planes: bool) -> Self {
        let mut tree = Self { nodes: vec![empty()], has_planes, ..Self::default() };
        let mut seen = HashSet::new();
        for (bytes, character) in characters {
            if !seen.insert(character) {
                tree.ambiguous.insert(character);
            }
            tree.insert(&bytes, character);
        }
        let root = &tree.nodes[0];
        tree.has_ascii = (0..128_u32).zip(root.iter()).all(|(byte, there)| *there == byte);
        tree
    }

    fn insert(&mut self, bytes: &[u8], character: char) {
        let Some((last, before)) = bytes.split_last() else { return };
        let mut at = 0;
        for byte in before {
            let there = self.nodes[at][usize::from(*byte)];
            at = if there != NOTHING && there >= NODE {
                (there - NODE) as usize
            } else {
                // No set has as many bytes in front as would not fit.
                let next = u32::try_from(self.nodes.len()).unwrap_or(0);
                self.nodes[at][usize::from(*byte)] = NODE + next;
                self.nodes.push(empty());
                self.nodes.len() - 1
            };
        }
        self.nodes[at][usize::from(*last)] = character.into();
    }

    /// Whether the bytes are their text in UTF-8, too.
    pub(super) fn is_as_it_is(&self, bytes: &[u8]) -> bool {
        self.has_ascii && bytes.is_ascii()
    }

    /// Writes the text behind what `out` has.
    pub(super) fn decode(&self, bytes: &[u8], out: &mut String) -> Option<()> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            let length = if self.has_ascii && first.is_ascii() {
                let run = rest.iter().take_while(|byte| byte.is_ascii()).count();
                out.push_str(std::str::from_utf8(&rest[..run]).ok()?);
                run
            } else {
                let (character, length) = self.first(rest)?;
                out.push(character);
                length
            };
            rest = &rest[length..];
        }
        Some(())
    }

    /// The first character, and how many bytes it has.
    fn first(&self, bytes: &[u8]) -> Option<(char, usize)> {
        let mut node = self.nodes.first()?;
        for (at, byte) in bytes.iter().enumerate() {
            match node[usize::from(*byte)] {
                NOTHING => break,
                there if there < NODE => return Some((char::from_u32(there)?, at + 1)),
                there => node = self.nodes.get((there - NODE) as usize)?,
            }
        }
        let four = bytes.first_chunk().filter(|_| self.has_planes)?;
        Some((beyond(*four)?, 4))
    }

    pub(super) fn is_ambiguous(&self, character: char) -> bool {
        self.ambiguous.contains(&character)
    }
}

fn empty() -> Node {
    Box::new([NOTHING; 256])
}

/// A character of the planes beyond the first in `gb18030`, which has them one after the other (GB 18030, 4 bytes from
/// 0x90308130 on).
pub(super) fn beyond([a, b, c, d]: [u8; 4]) -> Option<char> {
    let is_one = (0x90..=0xE3).contains(&a)
        && (0x30..=0x39).contains(&b)
        && (0x81..=0xFE).contains(&c)
        && (0x30..=0x39).contains(&d);
    let place = |byte: u8, from: u8| u32::from(byte.wrapping_sub(from));
    let number = ((place(a, 0x90) * 10 + place(b, 0x30)) * 126 + place(c, 0x81)) * 10 + place(d, 0x30);
    is_one.then(|| char::from_u32(0x1_0000 + number)).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ASCII, and some of `sjis`: half-width kana in one byte, others in two of which the second may be one of ASCII.
    fn sjis() -> Tree {
        let ascii = (0..128_u8).map(|byte| (vec![byte], char::from(byte)));
        let more = [(vec![0xB1], 'ｱ'), (vec![0x83, 0x41], 'ア'), (vec![0x83, 0x5C], 'ソ'), (vec![0x88, 0x9F], '亜')];
        Tree::of(ascii.chain(more), false)
    }

    fn text(tree: &Tree, bytes: &[u8]) -> Option<String> {
        let mut out = String::new();
        tree.decode(bytes, &mut out).map(|()| out)
    }

    #[test]
    fn characters_of_one_and_of_more_bytes_are_told_apart() {
        let tree = sjis();
        assert_eq!(text(&tree, b"A\x83A\\\x83\\\xB1\x88\x9Fz").unwrap(), "Aア\\ソｱ亜z");
        assert_eq!(text(&tree, b"").unwrap(), "");
        assert!(tree.is_as_it_is(b"plain") && !tree.is_as_it_is(b"\x83A"));
    }

    #[test]
    fn what_is_no_character_or_cut_is_refused() {
        for bytes in [&b"\x83"[..], b"\x83\xFF", b"\xFF", b"a\x88", b"\x88A"] {
            assert_eq!(text(&sjis(), bytes), None, "{bytes:?}");
        }
        assert_eq!(text(&Tree::default(), b"a"), None);
    }

    #[test]
    fn characters_of_three_and_four_bytes_are_read() {
        let tree = Tree::of([(vec![0x8F, 0xA2, 0xAF], '˘'), (vec![0x81, 0x30, 0x81, 0x30], '\u{80}')], false);
        assert_eq!(text(&tree, &[0x81, 0x30, 0x81, 0x30, 0x8F, 0xA2, 0xAF]).unwrap(), "\u{80}˘");
        assert_eq!(text(&tree, &[0x8F, 0xA2]), None);
    }

    /// `swe7` has letters where ASCII has brackets.
    #[test]
    fn a_set_that_is_not_ascii_below_is_not_taken_for_it() {
        let all = (0..128_u8).map(|byte| (vec![byte], if byte == b'[' { 'Ä' } else { char::from(byte) }));
        let tree = Tree::of(all, false);
        assert!(!tree.is_as_it_is(b"a[b"));
        assert_eq!(text(&tree, b"a[b").unwrap(), "aÄb");
    }

    #[test]
    fn a_character_that_stands_twice_is_known() {
        let tree = Tree::of([(vec![0x87, 0x54], 'Ⅰ'), (vec![0xFA, 0x4A], 'Ⅰ'), (vec![0x41], 'A')], false);
        assert!(tree.is_ambiguous('Ⅰ') && !tree.is_ambiguous('A'));
    }

    /// As the standard has its first, its last, and an emoji.
    #[test]
    fn the_planes_beyond_the_first_are_computed() {
        let tree = Tree::of([(vec![0x41], 'A')], true);
        assert_eq!(text(&tree, &[0x90, 0x30, 0x81, 0x30]).unwrap(), "\u{10000}");
        assert_eq!(text(&tree, &[0xE3, 0x32, 0x9A, 0x35]).unwrap(), "\u{10FFFF}");
        assert_eq!(text(&tree, &[0x41, 0x94, 0x39, 0xFC, 0x36]).unwrap(), "A😀");
        for bytes in
            [[0xE3, 0x32, 0x9A, 0x36], [0x8F, 0x30, 0x81, 0x30], [0x90, 0x30, 0x80, 0x30], [0x90, 0x3A, 0x81, 0x30]]
        {
            assert_eq!(text(&tree, &bytes), None, "{bytes:?}");
        }
        assert_eq!(text(&sjis(), &[0x90, 0x30, 0x81, 0x30]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(text(&sjis(), &bytes));
            drop(text(&Tree::of([], true), &bytes));
        }
    }
}
