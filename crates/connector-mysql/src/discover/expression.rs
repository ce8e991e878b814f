//! Expressions as the catalog has them, and as statements have them.
//!
//! MySQL's catalog takes the bytes of an expression for texts of ISO 8859-1, and escapes the whole once more. The bytes are names
//! in UTF-8 and literals each in the character set that stands before it. MariaDB's catalog is a text, in which each character
//! beyond U+FFFF is four question marks, and odd bytes of another character set are written as `xC3`.

use crate::defaults::Dialect;

/// The expression as a statement in UTF-8 has it; `None` if the catalog does not tell it.
pub(super) fn of(dialect: Dialect, text: &str) -> Option<String> {
    match dialect {
        Dialect::Mariadb => (!text.contains("????") && !has_odd_bytes(text)).then(|| text.to_owned()),
        Dialect::Mysql => read(&unescaped(&bytes(text)?)),
    }
}

/// Whether a literal of another character set than UTF-8 may have bytes in it that are written in letters.
fn has_odd_bytes(text: &str) -> bool {
    let is_other =
        |(at, _): (usize, &str)| !["_utf8mb4", "_utf8mb3", "_utf8"].iter().any(|name| text[..at].ends_with(name));
    let mut literals = text.match_indices('\'').filter(|(at, _)| introducer(&text.as_bytes()[..*at]).is_some());
    literals.any(is_other) && text.contains('x')
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn unescaped(escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter().copied();
    while let Some(byte) = rest.next() {
        plain.extend(if byte == b'\\' { rest.next() } else { Some(byte) });
    }
    plain
}

/// Writes names and literals in UTF-8; a literal that is none as the bytes that it is.
fn read(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + 1 + quoted(&bytes[at..]);
        let piece = &bytes[at..end.min(bytes.len())];
        match bytes[at] {
            b'\'' if !piece.is_ascii() => literal(piece, &mut out)?,
            _ => out.extend_from_slice(piece),
        }
        at = end;
    }
    String::from_utf8(out).ok()
}

/// How many bytes of a name or literal there are behind its first quote; none if no quote is there.
fn quoted(bytes: &[u8]) -> usize {
    let quote = bytes[0];
    if !matches!(quote, b'\'' | b'`') {
        return 0;
    }
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'\'' => at += 1,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 1,
            byte if byte == quote => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The word before a literal that says its character set.
fn introducer(before: &[u8]) -> Option<&str> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = before.iter().rev().take_while(|byte| is_part(byte)).count();
    std::str::from_utf8(&before[before.len() - length..]).ok().filter(|word| word.starts_with('_'))
}

fn literal(piece: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match introducer(out) {
        Some("_utf8mb4" | "_utf8mb3" | "_utf8") => out.extend_from_slice(piece),
        // Of one byte each; in others a byte may look like a quote.
        Some("_latin1" | "_binary" | "_latin2" | "_cp1250" | "_cp1251" | "_koi8r" | "_greek" | "_hebrew") => {
            let inner = piece.strip_prefix(b"'")?.strip_suffix(b"'")?;
            out.extend_from_slice(format!(" 0x{}", hex::encode_upper(contents(inner))).as_bytes());
        }
        _ => return None,
    }
    Some(())
}

/// What the server's escapes stand for.
fn contents(inner: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\'' if rest.peek() == Some(&b'\'') => plain.extend(rest.next()),
            b'\\' => plain.extend(rest.next().map(|escaped| match escaped {
                b'0' => 0,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'Z' => 0x1A,
                other => other,
            })),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mysql(text: &str) -> Option<String> {
        of(Dialect::Mysql, text)
    }

    /// As `information_schema` of MySQL 9.7 writes `concat(größe, 'é😀\'q\\\n')` and others.
    #[test]
    fn what_mysqls_catalog_has_is_read_byte_by_byte() {
        let told = r#"concat(`a`,_utf8mb4\'it\\\'s \\\\ "q"\')"#;
        assert_eq!(mysql(told).as_deref(), Some(r#"concat(`a`,_utf8mb4'it\'s \\ "q"')"#));
        let told = "concat(`gr\u{c3}\u{b6}\u{c3}\u{9f}e`,_utf8mb4\\'\u{c3}\u{a9}\u{f0}\u{9f}\u{98}\u{80}\\\\\\'q\\\\\\\\\\\\n\\')";
        assert_eq!(mysql(told).as_deref(), Some("concat(`größe`,_utf8mb4'é😀\\'q\\\\\\n')"));
        assert_eq!(mysql("(`l` = _latin1\\'\u{e9}\\\\n\\')").as_deref(), Some("(`l` = _latin1 0xE90A)"));
        assert_eq!(mysql("(`l` = _gbk\\'\u{81}\u{40}\\')"), None);
        assert_eq!(mysql("(`l` = _utf8mb4\\'\u{e9}\\')"), None);
        assert_eq!(mysql("(`l` = \u{100})"), None);
        assert_eq!(mysql("`a``'` > 0").as_deref(), Some("`a``'` > 0"));
    }

    #[test]
    fn what_mariadbs_catalog_does_not_tell_is_not_guessed() {
        let of = |text| of(Dialect::Mariadb, text);
        assert_eq!(of(r"`größe` <> '\\?'").as_deref(), Some(r"`größe` <> '\\?'"));
        assert_eq!(of("concat(`a`,'????')"), None);
        assert_eq!(of("`l` = _latin1'xE9'"), None);
        assert_eq!(of("`l` = _utf8mb4'xE9'").as_deref(), Some("`l` = _utf8mb4'xE9'"));
        assert_eq!(of("`l` = _latin1'a'").as_deref(), Some("`l` = _latin1'a'"));
    }
}
