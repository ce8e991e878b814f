//! Indexes and foreign keys from `information_schema`, as far as another system can have them exactly.

use std::collections::BTreeMap;

use wavemark_domain::extras::{Action, ForeignKey, Index, IndexPart};
use wavemark_domain::{Column, Table, TableName};

use crate::native::{ColumnNative, TableNative};
use crate::own::{Own, OwnKind};
use crate::sql::{quoted, quoted_table};

/// The name of every primary key.
pub(crate) const PRIMARY: &str = "PRIMARY";

/// The bytes of a value that is no text: a number of 65 digits has the most.
const NUMBER: u32 = 40;

/// One part of an index, a row of `statistics`.
pub(crate) struct Part {
    pub(crate) index: String,
    pub(crate) unique: bool,
    /// None for an expression.
    pub(crate) column: Option<String>,
    /// How much of the column's values is in it, if not all; in characters of a text, bytes of others.
    pub(crate) beginning: Option<u32>,
    pub(crate) descending: bool,
    /// `BTREE`, `HASH`, `FULLTEXT`, `SPATIAL` and others.
    pub(crate) kind: String,
    /// What it is over instead of a column, if the server says so.
    pub(crate) expression: Option<String>,
    /// What takes texts apart for it, other than the server's own.
    pub(crate) parser: Option<String>,
}

impl Part {
    fn exact(&self) -> bool {
        self.column.is_some() && self.beginning.is_none() && matches!(self.kind.as_str(), "BTREE" | "HASH")
    }
}

/// The indexes of one table besides its key; `parts` has each index's in order, one after the other. One with a part that
/// can't be had as it is, is left out.
pub(crate) fn indexes(table: &Table, parts: &[Part]) -> Vec<Index> {
    let secondary = parts.chunk_by(|a, b| a.index == b.index).filter(|parts| parts[0].index != PRIMARY);
    secondary.filter_map(|parts| index(table, parts)).collect()
}

/// How many tell values of any length apart, by their hashes.
pub(crate) fn hashed(parts: &[Part]) -> usize {
    parts.chunk_by(|a, b| a.index == b.index).filter(|parts| parts[0].unique && parts[0].kind == "HASH").count()
}

/// The others, which only a server of the same system can have.
pub(crate) fn own(table: &Table, parts: &[Part]) -> Vec<Own> {
    let secondary = parts.chunk_by(|a, b| a.index == b.index).filter(|parts| parts[0].index != PRIMARY);
    let others = secondary.filter(|parts| index(table, parts).is_none());
    let kind = |parts: &[Part]| {
        let has_expression = parts.iter().any(|part| part.column.is_none());
        if has_expression { OwnKind::IndexOfExpression } else { OwnKind::Index }
    };
    let is_unread = |parts: &[Part]| parts.iter().any(|part| part.column.is_none() && part.expression.is_none());
    let own = |parts: &[Part]| Own {
        kind: kind(parts),
        name: parts[0].index.clone(),
        alteration: alteration(parts),
        unread: is_unread(parts),
    };
    others.map(own).collect()
}

/// How an index is made. One of full texts or of places has no beginnings, whatever the catalog says.
fn alteration(parts: &[Part]) -> String {
    let (kind, has_beginnings) = match parts[0].kind.as_str() {
        kind @ ("FULLTEXT" | "SPATIAL") => (format!("{kind} "), false),
        _ if parts[0].unique => ("UNIQUE ".to_owned(), true),
        _ => (String::new(), true),
    };
    let column = |part: &Part, name: &str| {
        let beginning = part.beginning.filter(|_| has_beginnings);
        format!("{}{}", quoted(name), beginning.map_or_else(String::new, |length| format!("({length})")))
    };
    let expression = |part: &Part| format!("({})", part.expression.as_deref().unwrap_or("…"));
    let part = |part: &Part| {
        let what = part.column.as_deref().map_or_else(|| expression(part), |name| column(part, name));
        if part.descending { format!("{what} DESC") } else { what }
    };
    let columns: Vec<String> = parts.iter().map(part).collect();
    let parser = parts[0].parser.as_ref().map_or_else(String::new, |parser| format!(" WITH PARSER {}", quoted(parser)));
    format!("ADD {kind}INDEX {} ({}){parser}", quoted(&parts[0].index), columns.join(", "))
}

fn index(table: &Table, from: &[Part]) -> Option<Index> {
    let mut parts = Vec::with_capacity(from.len());
    let mut most_bytes = Some(0_u32);
    for part in from {
        let column = part.column.clone().filter(|_| part.exact())?;
        let described = table.column(&column).map(|at| &table.columns[at]);
        if described.is_some_and(|described| described.generated) {
            return None;
        }
        let bytes = described.and_then(most);
        most_bytes = most_bytes.zip(bytes).map(|(all, own)| all.saturating_add(own));
        parts.push(IndexPart { column, descending: part.descending });
    }
    Some(Index { name: from[0].index.clone(), unique: from[0].unique, parts, most_bytes })
}

/// The most bytes of a column's values, with texts in UTF-8.
fn most(column: &Column) -> Option<u32> {
    let native = ColumnNative::of(column).ok()?;
    let each = match native.charset.as_deref() {
        None | Some("ascii") => 1,
        Some("latin1" | "utf8" | "utf8mb3") => 3,
        Some(_) => 4,
    };
    Some(native.length.map_or(NUMBER, |length| length.saturating_mul(each)))
}

/// One column of a foreign key, a row of `key_column_usage`.
pub(crate) struct Pointer {
    pub(crate) key: String,
    pub(crate) column: String,
    pub(crate) target: TableName,
    pub(crate) target_column: String,
}

/// What a foreign key does on update and on delete, by its table and name.
pub(crate) type Actions = BTreeMap<(TableName, String), (Action, Action)>;

/// The names of a table's foreign keys that delete or change its rows; also of one whose actions nobody tells.
pub(crate) fn acting(table: &Table, pointers: &[Pointer], actions: &Actions) -> Vec<String> {
    let acts = |action: &Action| matches!(action, Action::Cascade | Action::SetNull);
    let mut names: Vec<String> = pointers.iter().map(|pointer| pointer.key.clone()).collect();
    names.dedup();
    names.retain(|name| {
        let known = actions.get(&(table.name.clone(), name.clone()));
        known.is_none_or(|(update, delete)| acts(update) || acts(delete))
    });
    names
}

/// An action as `referential_constraints` names it.
pub(crate) fn action(rule: &str) -> Action {
    match rule {
        "CASCADE" => Action::Cascade,
        "SET NULL" => Action::SetNull,
        "RESTRICT" => Action::Restrict,
        _ => Action::NoAction,
    }
}

/// The foreign keys in a table's declaration as the server writes it, each on a line of its own, with their actions.
pub(crate) fn declared(declaration: &str) -> impl Iterator<Item = (String, (Action, Action))> {
    declaration.lines().filter_map(|line| {
        let (name, rest) = line.trim_start().strip_prefix("CONSTRAINT `")?.split_once("` FOREIGN KEY (")?;
        // Behind the columns that it points at; what is not written is RESTRICT.
        let actions = rest.trim_end_matches(',').rsplit_once(')')?.1;
        let of = |event: &str| {
            let rule = actions.split_once(event).map_or("RESTRICT", |(_, rule)| rule);
            action(rule.split_once(" ON ").map_or(rule, |(rule, _)| rule).trim())
        };
        Some((name.replace("``", "`"), (of(" ON UPDATE "), of(" ON DELETE "))))
    })
}

/// The foreign keys of one table; `pointers` has each key's in order, one after the other. Of the system's own is one that finds
/// its row by texts that only resemble each other, and one that points at rows that are not told apart by these columns. One
/// whose actions are not known is left out.
pub(crate) fn foreign_keys(
    table: &Table,
    pointers: &[Pointer],
    actions: &Actions,
    tables: &BTreeMap<TableName, Table>,
) -> Vec<ForeignKey> {
    let keys = pointers.chunk_by(|a, b| a.key == b.key).filter_map(|of| foreign_key(table, of, actions));
    let is_own = |key: &ForeignKey| {
        let exact = key.columns.iter().all(|name| table.column(name).is_some_and(|at| is_exact(&table.columns[at])));
        // One that points at a table that doesn't travel is not made anyway.
        !exact || tables.get(&key.target).is_some_and(|parent| !tells_apart(parent, &key.target_columns))
    };
    keys.map(|key| ForeignKey { own: is_own(&key), ..key }).collect()
}

/// The others of a table: those whose actions are not known, which nobody makes without being asked.
pub(crate) fn unknown_keys(table: &Table, pointers: &[Pointer], actions: &Actions) -> Vec<Own> {
    let keys = pointers.chunk_by(|a, b| a.key == b.key);
    let unknown = keys.filter(|of| foreign_key(table, of, actions).is_none());
    let list = |names: Vec<String>| names.join(", ");
    let own = |of: &[Pointer]| {
        let name = of[0].key.clone();
        let alteration = format!(
            "ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})",
            quoted(&name),
            list(of.iter().map(|pointer| quoted(&pointer.column)).collect()),
            quoted_table(&of[0].target),
            list(of.iter().map(|pointer| quoted(&pointer.target_column)).collect()),
        );
        Own { kind: OwnKind::ForeignKey, name, alteration, unread: false }
    };
    unknown.map(own).collect()
}

fn foreign_key(table: &Table, pointers: &[Pointer], actions: &Actions) -> Option<ForeignKey> {
    let name = pointers[0].key.clone();
    let (on_update, on_delete) = *actions.get(&(table.name.clone(), name.clone()))?;
    Some(ForeignKey {
        name,
        columns: pointers.iter().map(|pointer| pointer.column.clone()).collect(),
        target: pointers[0].target.clone(),
        target_columns: pointers.iter().map(|pointer| pointer.target_column.clone()).collect(),
        on_update,
        on_delete,
        own: false,
    })
}

/// Whether values of the column are the same only if their bytes are.
fn is_exact(column: &Column) -> bool {
    let native = ColumnNative::of(column).unwrap_or_default();
    native.collation.is_none_or(|collation| collation.ends_with("_bin"))
}

/// Whether no two rows have the same values in these columns, by a key that another system has, too.
fn tells_apart(table: &Table, columns: &[String]) -> bool {
    let same = |key: &mut dyn Iterator<Item = &String>| {
        let mut key: Vec<&String> = key.collect();
        let mut wanted: Vec<&String> = columns.iter().collect();
        key.sort_unstable();
        wanted.sort_unstable();
        key == wanted
    };
    let native = TableNative::of(table);
    let stored = columns.iter().all(|name| table.column(name).is_some_and(|at| !table.columns[at].generated));
    let mut uniques = native.indexes.iter().filter(|index| index.unique);
    stored
        && (same(&mut table.key.iter()) || uniques.any(|index| same(&mut index.parts.iter().map(|part| &part.column))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wavemark_domain::catalog::TableKind;

    use super::*;

    fn column(name: &str, native: &ColumnNative) -> Column {
        Column { name: name.into(), declared: "int".into(), not_null: false, generated: false, native: json!(native) }
    }

    fn text(length: u32, charset: &str, collation: &str) -> ColumnNative {
        let (charset, collation) = (Some(charset.to_owned()), Some(collation.to_owned()));
        ColumnNative { length: Some(length), charset, collation, ..ColumnNative::default() }
    }

    fn table(name: &str, native: &TableNative) -> Table {
        Table {
            name: TableName::new("shop", name),
            kind: TableKind::Table,
            columns: vec![
                column("id", &ColumnNative::default()),
                column("code", &text(10, "utf8mb4", "utf8mb4_general_ci")),
                column("word", &text(10, "latin1", "latin1_bin")),
            ],
            key: vec!["id".into()],
            rows_estimated: None,
            bytes_estimated: None,
            native: json!(native),
        }
    }

    fn part(index: &str, column: Option<&str>, kind: &str) -> Part {
        Part {
            index: index.into(),
            unique: index.starts_with('u'),
            column: column.map(str::to_owned),
            beginning: (index.ends_with("prefix") || kind == "SPATIAL").then_some(5),
            descending: false,
            kind: kind.into(),
            expression: column.is_none().then(|| "lower(`word`)".to_owned()),
            parser: None,
        }
    }

    #[test]
    fn an_index_is_whole_or_left_out() {
        let parts = [
            part(PRIMARY, Some("id"), "BTREE"),
            part("both", Some("code"), "BTREE"),
            part("both", Some("word"), "BTREE"),
            part("expression", Some("id"), "BTREE"),
            part("expression", None, "BTREE"),
            part("in_memory", Some("id"), "HASH"),
            part("words", Some("code"), "FULLTEXT"),
            part("u_prefix", Some("code"), "BTREE"),
            part("where", Some("code"), "SPATIAL"),
        ];
        let indexes = indexes(&table("orders", &TableNative::default()), &parts);
        let found: Vec<_> = indexes.iter().map(|one| (one.name.as_str(), one.parts.len(), one.most_bytes)).collect();
        assert_eq!(found, [("both", 2, Some(70)), ("in_memory", 1, Some(40))]);
        let own = own(&table("orders", &TableNative::default()), &parts);
        let found: Vec<_> = own.iter().map(|own| (own.what(), own.alteration.as_str())).collect();
        assert_eq!(
            found,
            [
                ("index expression".to_owned(), "ADD INDEX `expression` (`id`, (lower(`word`)))"),
                ("index words".to_owned(), "ADD FULLTEXT INDEX `words` (`code`)"),
                ("index u_prefix".to_owned(), "ADD UNIQUE INDEX `u_prefix` (`code`(5))"),
                ("index where".to_owned(), "ADD SPATIAL INDEX `where` (`code`)"),
            ]
        );
    }

    fn pointer(key: &str, column: &str, target_column: &str) -> Pointer {
        Pointer {
            key: key.into(),
            column: column.into(),
            target: TableName::new("shop", "parents"),
            target_column: target_column.into(),
        }
    }

    #[test]
    fn a_foreign_key_is_kept_where_it_means_the_same() {
        let unique = Index {
            name: "word".into(),
            unique: true,
            parts: vec![IndexPart { column: "word".into(), descending: false }],
            most_bytes: Some(30),
        };
        let parents = table("parents", &TableNative { indexes: vec![unique], ..TableNative::default() });
        let child = table("children", &TableNative::default());
        let tables = BTreeMap::from([(parents.name.clone(), parents)]);
        let pointers = [
            pointer("by_id", "id", "id"),
            pointer("by_word", "word", "word"),
            pointer("resembling", "code", "word"),
            pointer("to_many", "id", "code"),
            pointer("unknown", "id", "id"),
        ];
        let own = |key: &str| (child.name.clone(), key.to_owned());
        let mut actions = Actions::from([(own("by_id"), (action("RESTRICT"), action("SET NULL")))]);
        for key in ["by_word", "resembling", "to_many"] {
            actions.insert(own(key), (action("NO ACTION"), action("CASCADE")));
        }
        let keys = foreign_keys(&child, &pointers, &actions, &tables);
        let found: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.own, key.on_update, key.on_delete)).collect();
        let expected = [
            ("by_id", false, Action::Restrict, Action::SetNull),
            ("by_word", false, Action::NoAction, Action::Cascade),
            ("resembling", true, Action::NoAction, Action::Cascade),
            ("to_many", true, Action::NoAction, Action::Cascade),
        ];
        assert_eq!(found, expected);
        let [unknown] = &unknown_keys(&child, &pointers, &actions)[..] else { panic!("one is unknown") };
        assert_eq!(unknown.what(), "foreign key unknown, of which nobody tells what it does");
        let expected = "ADD CONSTRAINT `unknown` FOREIGN KEY (`id`) REFERENCES `shop`.`parents` (`id`)";
        assert_eq!(unknown.alteration, expected);
    }

    #[test]
    fn actions_are_read_from_a_declaration() {
        let declaration = "CREATE TABLE `child` (\n  `p` int(11) COMMENT 'CONSTRAINT `no` FOREIGN KEY (',\n  KEY `a` (`p`),\n  \
            CONSTRAINT `a` FOREIGN KEY (`p`) REFERENCES `parent` (`id`) ON DELETE CASCADE ON UPDATE SET NULL,\n  \
            CONSTRAINT `it``s` FOREIGN KEY (`p`) REFERENCES `shop`.`parent` (`odd)`) ON UPDATE NO ACTION,\n  \
            CONSTRAINT `c` FOREIGN KEY (`p`) REFERENCES `parent` (`id`),\n  \
            CONSTRAINT `positive` CHECK (`p` > 0)\n) ENGINE=InnoDB COMMENT='FOREIGN KEY ('";
        let found: Vec<_> = declared(declaration).collect();
        assert_eq!(
            found,
            [
                ("a".to_owned(), (Action::SetNull, Action::Cascade)),
                ("it`s".to_owned(), (Action::NoAction, Action::Restrict)),
                ("c".to_owned(), (Action::Restrict, Action::Restrict)),
            ]
        );
    }
}
