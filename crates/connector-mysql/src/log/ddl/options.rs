//! Parts of `ALTER TABLE` that are about the table as a whole.

use super::alter::Spec;
use super::named;
use super::rest::Rest;
use super::tokens::Token;

/// Options whose value is one word, number or text, and which say nothing of rows and columns.
const PLAIN: [&str; 33] = [
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "COMMENT",
    "COMPRESSION",
    "CONNECTION",
    "DELAY_KEY_WRITE",
    "ENCRYPTION",
    "ENCRYPTED",
    "ENCRYPTION_KEY_ID",
    "ENGINE_ATTRIBUTE",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "PAGE_CHECKSUM",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "PASSWORD",
    "ROW_FORMAT",
    "SECONDARY_ENGINE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "TABLESPACE",
    "TABLE_CHECKSUM",
    "TRANSACTIONAL",
    "AUTOEXTEND_SIZE",
    "ALGORITHM",
    "LOCK",
    "STORAGE",
];
/// Engines that keep the rows that a table has when it comes to them.
const ENGINES: [&str; 5] = ["INNODB", "MYISAM", "ARIA", "ROCKSDB", "XTRADB"];

/// One option, or what is done to partitions; `None` if it is not known.
pub(super) fn read(rest: &mut Rest<'_>) -> Option<Spec> {
    let (first, second) = (rest.upper(), rest.upper_at(1));
    match (first.as_str(), second.as_str()) {
        ("DEFAULT" | "CHARACTER" | "CHARSET" | "COLLATE", _) => {
            rest.words(&["DEFAULT"]);
            charset(rest).map(|(charset, collation)| Spec::Charset { charset, collation })
        }
        ("ENGINE" | "TYPE", _) => {
            let engine = value(rest)?;
            let keeps = ENGINES.iter().any(|known| engine.eq_ignore_ascii_case(known));
            Some(if keeps { Spec::Nothing } else { rows("its engine may keep no rows") })
        }
        ("FORCE", _) => Some(passed(rest, 1)),
        ("ENABLE" | "DISABLE", "KEYS") | ("WITH" | "WITHOUT", "VALIDATION") => Some(passed(rest, 2)),
        ("ORDER", "BY") => {
            rest.up_to_next();
            Some(Spec::Nothing)
        }
        ("DISCARD" | "IMPORT", _) => Some(all(rest, rows("its rows came or went as a file"))),
        ("TRUNCATE", "PARTITION") => Some(all(rest, rows("a partition was emptied"))),
        ("REPAIR", "PARTITION") => Some(all(rest, rows("a partition was repaired, which may lose rows"))),
        ("EXCHANGE", "PARTITION") => exchange(rest),
        ("PARTITION", "BY")
        | ("REMOVE" | "UPGRADE", "PARTITIONING")
        | ("COALESCE" | "REORGANIZE" | "REBUILD" | "ANALYZE" | "CHECK" | "OPTIMIZE", "PARTITION") => {
            Some(all(rest, Spec::Nothing))
        }
        (option, _) if PLAIN.contains(&option) => value(rest).map(|_| Spec::Nothing),
        _ => None,
    }
}

fn rows(how: &'static str) -> Spec {
    Spec::Rows { how, with: None }
}

fn passed(rest: &mut Rest<'_>, words: usize) -> Spec {
    for _ in 0..words {
        rest.next();
    }
    Spec::Nothing
}

/// Everything that is left belongs to it.
fn all(rest: &mut Rest<'_>, spec: Spec) -> Spec {
    while rest.next().is_some() {}
    spec
}

fn exchange(rest: &mut Rest<'_>) -> Option<Spec> {
    while !rest.words(&["WITH", "TABLE"]) {
        rest.next()?;
    }
    let with = named(rest);
    Some(all(rest, Spec::Rows { how: "a partition changed places with a table", with }))
}

/// The value behind an option's name.
fn value(rest: &mut Rest<'_>) -> Option<String> {
    rest.next();
    rest.sign('=');
    match rest.next()? {
        Token::Word(text) | Token::Name(text) | Token::Text(text) | Token::Number(text) => Some(text.clone()),
        _ => None,
    }
}

/// A character set, a collation or both; no name for the default.
pub(super) fn charset(rest: &mut Rest<'_>) -> Option<(Option<String>, Option<String>)> {
    let mut found = (None, None);
    let mut any = false;
    loop {
        if rest.words(&["CHARACTER", "SET"]) || rest.words(&["CHARSET"]) {
            rest.sign('=');
            let name = rest.name_or_text()?;
            found.0 = (!name.eq_ignore_ascii_case("DEFAULT")).then(|| name.to_ascii_lowercase());
        } else if rest.words(&["COLLATE"]) {
            rest.sign('=');
            found.1 = Some(rest.name_or_text()?.to_ascii_lowercase());
        } else {
            return any.then_some(found);
        }
        any = true;
    }
}
