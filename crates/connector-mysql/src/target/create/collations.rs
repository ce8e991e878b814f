//! How texts are compared. A collation that the server does not know gets the nearest that it does, but not in a column of
//! a key: what two rows were told apart by must tell them apart here, too, and only byte by byte is surely no coarser than
//! what nobody here knows.

use super::server::Server;
use crate::defaults::Dialect;
use crate::native::ColumnNative;

/// A character set and a collation of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) charset: String,
    pub(super) collation: String,
}

impl Comparison {
    fn of(collation: &str) -> Self {
        let charset = collation.split('_').next().unwrap_or(collation);
        Self { charset: charset.to_owned(), collation: collation.to_owned() }
    }
}

/// Texts that are the same only to the last byte, blanks at the end too.
const BYTES: [&str; 2] = ["utf8mb4_0900_bin", "utf8mb4_nopad_bin"];

/// How a text column is compared at a server; `None` if it has nothing for it. Texts of another system say no collation: they
/// are compared byte by byte.
pub(super) fn of(native: &ColumnNative, is_keyed: bool, server: &Server) -> Option<Comparison> {
    let Some(collation) = native.collation.as_deref() else { return bytes(is_keyed, server) };
    if let Some(same) = same(collation, server) {
        return Some(Comparison::of(&same));
    }
    if is_keyed || BYTES.contains(&collation) {
        return bytes(is_keyed, server);
    }
    nearest(collation, server).map(|name| Comparison::of(&name)).or_else(|| bytes(is_keyed, server))
}

/// The one of a system that tells all apart.
pub(in crate::target) const fn bytes_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Mysql => BYTES[0],
        Dialect::Mariadb => BYTES[1],
    }
}

/// Whether a column that is there tells texts apart that its source tells apart. A text of another system says no collation.
pub(in crate::target) fn tells_apart(source: &ColumnNative, there: &ColumnNative) -> bool {
    let Some(own) = there.collation.as_deref() else { return true };
    let is_padded_bytes = |name: &str| name.ends_with("_bin") && !BYTES.contains(&name);
    let is_like = |name: &str| long(name) == long(own) || (is_padded_bytes(name) && is_padded_bytes(own));
    own == "binary"
        || own.ends_with("_nopad_bin")
        || BYTES.contains(&own)
        || source.collation.as_deref().is_some_and(is_like)
}

/// Whether texts of the column are compared at a server as they were at its source.
pub(super) fn is_kept(native: &ColumnNative, server: &Server) -> bool {
    native.collation.as_deref().is_none_or(|collation| same(collation, server).is_some())
}

/// What the server calls the collation.
fn same(collation: &str, server: &Server) -> Option<String> {
    [collation.to_owned(), long(collation)].into_iter().find(|name| server.knows(name))
}

/// Old servers have a short name for some.
fn long(collation: &str) -> String {
    collation.strip_prefix("utf8_").map_or_else(|| collation.to_owned(), |rest| format!("utf8mb3_{rest}"))
}

/// MySQL before 8.0.17 fills texts up with blanks before it compares them, which a key does not bear.
fn bytes(is_keyed: bool, server: &Server) -> Option<Comparison> {
    let padded = (!is_keyed).then_some("utf8mb4_bin");
    BYTES.into_iter().chain(padded).find(|name| server.knows(name)).map(Comparison::of)
}

/// MySQL's short names of languages and MariaDB's long ones.
const LANGUAGES: [(&str, &str); 20] = [
    ("cs", "czech"),
    ("da", "danish"),
    ("de_pb", "german2"),
    ("eo", "esperanto"),
    ("es", "spanish"),
    ("es_trad", "spanish2"),
    ("et", "estonian"),
    ("hr", "croatian"),
    ("hu", "hungarian"),
    ("is", "icelandic"),
    ("la", "roman"),
    ("lt", "lithuanian"),
    ("lv", "latvian"),
    ("pl", "polish"),
    ("ro", "romanian"),
    ("sk", "slovak"),
    ("sl", "slovenian"),
    ("sv", "swedish"),
    ("tr", "turkish"),
    ("vi", "vietnamese"),
];

/// The nearest collation that the server knows.
fn nearest(collation: &str, server: &Server) -> Option<String> {
    let names = match server.dialect {
        Dialect::Mariadb => of_mariadb(collation),
        Dialect::Mysql => of_mysql(collation),
    };
    names.into_iter().find(|name| server.knows(name))
}

/// `utf8mb4_sv_0900_ai_ci` is by version 9 of Unicode's rules, `utf8mb4_uca1400_swedish_nopad_ai_ci` by version 14.
fn of_mariadb(collation: &str) -> Vec<String> {
    let Some((language, sensitivity)) = collation.split_once("0900_") else { return Vec::new() };
    let short = language.trim_start_matches("utf8mb4").trim_matches('_');
    let sensitivity = sensitivity.trim_end_matches("_ks");
    let long = LANGUAGES.iter().find(|(name, _)| *name == short).map(|(_, name)| *name);
    let own = long.map(|name| format!("utf8mb4_uca1400_{name}_nopad_{sensitivity}"));
    let plain = format!("utf8mb4_uca1400_nopad_{sensitivity}");
    let mut names: Vec<String> = own.into_iter().chain([plain]).collect();
    if sensitivity == "ai_ci" {
        names.push("utf8mb4_unicode_520_nopad_ci".to_owned());
    }
    names
}

/// The other way round; what compares without blanks at the end by older rules becomes what compares with them.
fn of_mysql(collation: &str) -> Vec<String> {
    let padded = collation.replace("_nopad", "");
    let Some(rest) = collation.strip_prefix("utf8mb4_uca1400_") else {
        let newest = collation.starts_with("utf8mb4_").then(|| "utf8mb4_0900_ai_ci".to_owned());
        return newest.into_iter().filter(|_| collation != padded).chain([padded.clone()]).collect();
    };
    let rest = rest.replace("nopad_", "");
    let sensitivities = ["ai_ci", "as_ci", "as_cs", "ai_cs"];
    let Some(sensitivity) = sensitivities.into_iter().find(|one| rest.ends_with(one)) else { return Vec::new() };
    let long = rest.trim_end_matches(sensitivity).trim_end_matches('_');
    let sensitivity = if sensitivity == "ai_cs" { "as_cs" } else { sensitivity };
    let short = LANGUAGES.iter().find(|(_, name)| *name == long).map(|(name, _)| *name);
    let own = short.map(|name| format!("utf8mb4_{name}_0900_{sensitivity}"));
    own.into_iter().chain([format!("utf8mb4_0900_{sensitivity}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn server(dialect: Dialect, collations: &[&str]) -> Server {
        let collations = collations.iter().map(|name| (*name).to_owned()).collect();
        Server { dialect, version: (9, 0), patch: 0, collations, has_explicit_defaults: true }
    }

    const MYSQL: [&str; 6] = [
        "utf8mb4_0900_bin",
        "utf8mb4_0900_ai_ci",
        "utf8mb4_sv_0900_as_cs",
        "utf8mb4_0900_as_cs",
        "latin1_swedish_ci",
        "utf8mb3_general_ci",
    ];
    const MARIADB: [&str; 5] = [
        "utf8mb4_nopad_bin",
        "utf8mb4_bin",
        "utf8mb4_uca1400_nopad_ai_ci",
        "utf8mb4_uca1400_swedish_nopad_as_cs",
        "latin1_swedish_ci",
    ];

    fn chosen(collation: Option<&str>, is_keyed: bool, server: &Server) -> Option<String> {
        let native = ColumnNative {
            charset: Some("utf8mb4".to_owned()),
            collation: collation.map(str::to_owned),
            ..ColumnNative::default()
        };
        of(&native, is_keyed, server).map(|comparison| format!("{} {}", comparison.charset, comparison.collation))
    }

    #[test]
    fn a_collation_is_kept_or_becomes_the_nearest() {
        let (mysql, mariadb) = (server(Dialect::Mysql, &MYSQL), server(Dialect::Mariadb, &MARIADB));
        for (collation, server, expected) in [
            ("utf8mb4_0900_ai_ci", &mysql, "utf8mb4 utf8mb4_0900_ai_ci"),
            ("utf8mb4_0900_ai_ci", &mariadb, "utf8mb4 utf8mb4_uca1400_nopad_ai_ci"),
            ("utf8mb4_de_pb_0900_ai_ci", &mariadb, "utf8mb4 utf8mb4_uca1400_nopad_ai_ci"),
            ("utf8mb4_sv_0900_as_cs", &mariadb, "utf8mb4 utf8mb4_uca1400_swedish_nopad_as_cs"),
            ("utf8mb4_0900_bin", &mariadb, "utf8mb4 utf8mb4_nopad_bin"),
            ("utf8mb4_nopad_bin", &mysql, "utf8mb4 utf8mb4_0900_bin"),
            ("utf8mb4_uca1400_ai_ci", &mysql, "utf8mb4 utf8mb4_0900_ai_ci"),
            ("utf8mb4_uca1400_swedish_nopad_ai_cs", &mysql, "utf8mb4 utf8mb4_sv_0900_as_cs"),
            ("utf8mb4_unicode_nopad_ci", &mysql, "utf8mb4 utf8mb4_0900_ai_ci"),
            ("latin1_swedish_nopad_ci", &mysql, "latin1 latin1_swedish_ci"),
            ("latin1_swedish_ci", &mysql, "latin1 latin1_swedish_ci"),
            ("utf8_general_ci", &mysql, "utf8mb3 utf8mb3_general_ci"),
            ("gb18030_chinese_ci", &mariadb, "utf8mb4 utf8mb4_nopad_bin"),
        ] {
            assert_eq!(chosen(Some(collation), false, server).as_deref(), Some(expected), "{collation}");
        }
    }

    #[test]
    fn a_key_that_is_there_must_tell_apart_what_its_source_does() {
        let of = |collation: Option<&str>| ColumnNative {
            collation: collation.map(str::to_owned),
            ..ColumnNative::default()
        };
        for (source, there, expected) in [
            (None, "utf8mb4_0900_ai_ci", false),
            (None, "utf8mb4_bin", false),
            (None, "utf8mb4_0900_bin", true),
            (None, "latin1_nopad_bin", true),
            (Some("utf8mb4_0900_ai_ci"), "utf8mb4_0900_ai_ci", true),
            (Some("utf8_general_ci"), "utf8mb3_general_ci", true),
            (Some("utf8mb4_0900_as_cs"), "utf8mb4_0900_ai_ci", false),
            (Some("latin1_bin"), "utf8mb4_bin", true),
            (Some("utf8mb4_0900_bin"), "utf8mb4_bin", false),
        ] {
            assert_eq!(tells_apart(&of(source), &of(Some(there))), expected, "{source:?} {there}");
        }
        assert!(tells_apart(&of(None), &of(None)));
    }

    #[test]
    fn what_tells_rows_apart_is_never_coarser() {
        let (mysql, mariadb) = (server(Dialect::Mysql, &MYSQL), server(Dialect::Mariadb, &MARIADB));
        for collation in ["utf8mb4_0900_ai_ci", "gb18030_chinese_ci", "utf8mb4_sv_0900_as_cs"] {
            assert_eq!(chosen(Some(collation), true, &mariadb).as_deref(), Some("utf8mb4 utf8mb4_nopad_bin"));
        }
        assert_eq!(chosen(Some("latin1_swedish_nopad_ci"), true, &mysql).as_deref(), Some("utf8mb4 utf8mb4_0900_bin"));
        assert_eq!(chosen(None, true, &mysql).as_deref(), Some("utf8mb4 utf8mb4_0900_bin"));
        let old = server(Dialect::Mysql, &["utf8mb4_bin", "utf8mb4_general_ci"]);
        assert_eq!(chosen(None, true, &old), None);
        assert_eq!(chosen(None, false, &old).as_deref(), Some("utf8mb4 utf8mb4_bin"));
    }
}
