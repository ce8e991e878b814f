//! Statements and what they mean, written by hand from the servers' manuals.

use proptest::prelude::*;

use super::*;

fn of(text: &str) -> Definition {
    Definition::of(text, Modes::default())
}

fn table(name: &str) -> Named {
    match name.split_once('.') {
        Some((schema, table)) => Named { schema: Some(schema.into()), table: table.into() },
        None => Named { schema: None, table: name.into() },
    }
}

/// What is done to `t`, in few words.
fn specs(text: &str) -> Vec<String> {
    let Definition::Alter(alter) = of(&format!("ALTER TABLE t {text}")) else { return vec!["unread".to_owned()] };
    assert_eq!(alter.table, table("t"), "{text}");
    alter.specs.iter().map(words).collect()
}

fn words(spec: &Spec) -> String {
    let place = |place: &Place| match place {
        Place::Stays => String::new(),
        Place::First => " first".to_owned(),
        Place::After(name) => format!(" after {name}"),
    };
    match spec {
        Spec::Add { columns, if_not_exists } => {
            let one = |(column, at): &(ColumnDefinition, Place)| format!("{}{}", defined(column), place(at));
            let columns: Vec<String> = columns.iter().map(one).collect();
            format!("add{} {}", if *if_not_exists { "?" } else { "" }, columns.join(", "))
        }
        Spec::Drop { column, if_exists } => format!("drop{} {column}", if *if_exists { "?" } else { "" }),
        Spec::Change { column, to, place: at, .. } => format!("change {column} to {}{}", defined(to), place(at)),
        Spec::RenameColumn { from, to, .. } => format!("rename {from} to {to}"),
        Spec::RenameTo(to) => {
            format!("move to {}{}", to.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default(), to.table)
        }
        Spec::Charset { charset, collation } => format!("charset {charset:?} {collation:?}"),
        Spec::Convert { charset } => format!("convert {charset:?}"),
        Spec::Key => "key".to_owned(),
        Spec::Default { column } => format!("default of {column}"),
        Spec::ForeignKey { acts } => format!("foreign key {acts}"),
        Spec::Rows { how, with } => format!("rows {how} {}", with.as_ref().map_or("", |with| &with.table)),
        Spec::Nothing => "-".to_owned(),
    }
}

fn defined(column: &ColumnDefinition) -> String {
    let mut words = format!("{} {}", column.name, column.kind.declared);
    for (is, word) in [
        (column.not_null, " not null"),
        (column.nullable, " null"),
        (column.generated, " generated"),
        (column.auto_increment, " counted"),
        (column.is_key, " key"),
        (column.acts, " acts"),
    ] {
        words.push_str(if is { word } else { "" });
    }
    let default = match &column.default {
        Given::Nothing => String::new(),
        Given::Null => " = null".to_owned(),
        Given::Number(text) => format!(" = {text}"),
        Given::Text(text) => format!(" = '{text}'"),
        Given::Computed => " = computed".to_owned(),
    };
    let charset = column.charset.as_ref().or(column.collation.as_ref());
    let charset = charset.map_or_else(String::new, |charset| format!(" in {charset}"));
    format!("{words}{default}{charset}")
}

#[test]
fn columns_come_go_and_change() {
    for (text, expected) in [
        ("ADD c int", &["add c int"][..]),
        ("ADD c varchar(9) COMPRESSED=zlib NOT NULL", &["add c varchar(9) not null"]),
        ("ADD c text COMPRESSED, ADD d int", &["add c text", "add d int"]),
        (
            "ADD COLUMN c INT(11) UNSIGNED NOT NULL DEFAULT '5' COMMENT 'it''s, (a) ''first''' FIRST",
            &["add c int unsigned not null = '5' first"],
        ),
        (
            "add `or``der` varchar(20) charset latin1 default 'it\\'s' after `a b`",
            &["add or`der varchar(20) = 'it's' in latin1 after a b"],
        ),
        (
            "ADD c decimal(9,3) default -1.50, ADD COLUMN (d date, e datetime(6) null), DROP x, DROP COLUMN IF EXISTS `y`",
            &["add c decimal(9,3) = -1.50", "add d date, e datetime(6) null", "drop x", "drop? y"],
        ),
        ("ADD COLUMN IF NOT EXISTS c bool DEFAULT TRUE", &["add? c tinyint(1) = 1"]),
        ("MODIFY c bigint NOT NULL AUTO_INCREMENT", &["change c to c bigint not null counted"]),
        (
            "MODIFY COLUMN c enum('a','it''s','x,y') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin AFTER d",
            &["change c to c enum('a','it''s','x,y') in utf8mb4 after d"],
        ),
        (
            "CHANGE a b varchar(30) /* why */ DEFAULT NULL -- so\n, CHANGE COLUMN b a int # here\n",
            &["change a to b varchar(30) = null", "change b to a int"],
        ),
        ("RENAME COLUMN a TO b, RENAME COLUMN b TO a", &["rename a to b", "rename b to a"]),
        (
            "ADD c int GENERATED ALWAYS AS (a + (b)) STORED, ADD d int AS (a) VIRTUAL COMMENT 'x'",
            &["add c int generated", "add d int generated"],
        ),
        (
            "ADD c timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
            &["add c timestamp not null = computed"],
        ),
        (
            "ADD c char(36) DEFAULT (uuid()), ADD d int DEFAULT (1), ADD e varchar(9) DEFAULT uuid()",
            &["add c char(36) = computed", "add d int = computed", "add e varchar(9) = computed"],
        ),
        ("ADD c int CHECK (c > 0) INVISIBLE", &["add c int"]),
        (
            "ADD c int REFERENCES u (id) ON DELETE SET NULL, ADD d int REFERENCES u (id) ON UPDATE NO ACTION",
            &["add c int acts", "add d int"],
        ),
        ("ADD c int PRIMARY KEY", &["add c int key"]),
        (
            "ADD c DOUBLE PRECISION, ADD d FLOAT(30), ADD e FLOAT(7,3), ADD f REAL UNSIGNED",
            &["add c double", "add d double", "add e float(7,3)", "add f double unsigned"],
        ),
        (
            "ADD c numeric, ADD d dec(5), ADD e fixed(5,2) zerofill",
            &["add c decimal(10,0)", "add d decimal(5,0)", "add e decimal(5,2) unsigned zerofill"],
        ),
        (
            "ADD c bit, ADD d character varying(7), ADD e char, ADD f json, ADD g blob, ADD h varbinary(3)",
            &["add c bit(1)", "add d varchar(7)", "add e char(1)", "add f json", "add g blob", "add h varbinary(3)"],
        ),
        ("ADD c int, ALGORITHM=INSTANT, LOCK = NONE", &["add c int", "-", "-"]),
        ("/*!50100 ADD c int */", &["add c int"]),
    ] {
        assert_eq!(specs(text), expected, "{text}");
    }
}

#[test]
fn temporary_tables_come_and_go() {
    for text in ["CREATE TEMPORARY TABLE t (a int)", "create or replace temporary table if not exists t like x"] {
        assert_eq!(of(text), Definition::Hide(table("t")), "{text}");
    }
    let two = Definition::Show(vec![table("t"), table("s.u")]);
    assert_eq!(of("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`,s.`u`"), two);
    assert_eq!(of("DROP TEMPORARY TABLE `t` /* generated by server */"), Definition::Show(vec![table("t")]));
}

#[test]
fn what_changes_neither_rows_nor_columns_is_known() {
    for text in [
        "ADD INDEX i (a, b(3) DESC)",
        "ADD UNIQUE KEY (a)",
        "ADD FULLTEXT (a)",
        "ADD CONSTRAINT u UNIQUE (a)",
        "ADD CHECK (a > 1)",
        "ADD CONSTRAINT c CHECK (a IN (1, 2))",
        "DROP INDEX i",
        "DROP KEY `i`",
        "DROP FOREIGN KEY f",
        "DROP CONSTRAINT c",
        "DROP CHECK c",
        "RENAME INDEX a TO b",
        "ALTER INDEX i INVISIBLE",
        "ALTER COLUMN c SET INVISIBLE",
        "ENGINE=InnoDB",
        "COMMENT = 'ADD c int'",
        "AUTO_INCREMENT = 100",
        "ROW_FORMAT=DYNAMIC",
        "FORCE",
        "DISABLE KEYS",
        "ORDER BY a",
        "STATS_PERSISTENT 1",
        "PARTITION BY HASH (id) PARTITIONS 4",
        "REMOVE PARTITIONING",
        "ADD PARTITION (PARTITION p VALUES LESS THAN (9))",
        "REORGANIZE PARTITION p INTO (PARTITION q VALUES LESS THAN (5), PARTITION r VALUES LESS THAN (9))",
        "ANALYZE PARTITION ALL",
        "OPTIMIZE PARTITION p",
        "COALESCE PARTITION 2",
        "REBUILD PARTITION p",
    ] {
        assert_eq!(specs(text), ["-"], "{text}");
    }
    for text in ["ALTER COLUMN c SET DEFAULT 5", "ALTER c SET DEFAULT (uuid())", "ALTER c DROP DEFAULT"] {
        assert_eq!(specs(text), ["default of c"], "{text}");
    }
    assert_eq!(specs("ADD INDEX (a), ENGINE = InnoDB ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8"), ["-"; 4]);
    assert_eq!(specs("ADD INDEX (a) PARTITION BY KEY (id)"), ["-"; 2]);
    for text in [
        "CREATE INDEX i ON t (a)",
        "CREATE UNIQUE INDEX i ON t (a)",
        "DROP INDEX i ON t",
        "ANALYZE TABLE t",
        "OPTIMIZE TABLE t",
        "CHECK TABLE t",
        "GRANT SELECT ON t TO u",
        "CREATE DEFINER=`root`@`localhost` TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
        "CREATE ALGORITHM=UNDEFINED DEFINER=`a`@`%` SQL SECURITY DEFINER VIEW v AS SELECT * FROM t",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "DROP VIEW IF EXISTS v",
        "CREATE DATABASE d",
        "ALTER DATABASE d CHARACTER SET utf8mb4",
        "FLUSH TABLES t",
        "DROP TRIGGER x",
        "RENAME USER a TO b",
        "SET PASSWORD = 'x'",
    ] {
        assert_eq!(of(text), Definition::Harmless, "{text}");
    }
}

#[test]
fn what_changes_rows_without_a_word_is_known() {
    for (text, expected) in [
        ("DROP PARTITION p, q", "rows a partition was dropped with its rows "),
        ("TRUNCATE PARTITION p", "rows a partition was emptied "),
        ("EXCHANGE PARTITION p WITH TABLE `u` WITHOUT VALIDATION", "rows a partition changed places with a table u"),
        ("CONVERT PARTITION p TO TABLE u", "rows a partition became a table, or a table one u"),
        ("CONVERT TABLE u TO PARTITION p VALUES LESS THAN (5)", "rows a partition became a table, or a table one u"),
        ("DISCARD TABLESPACE", "rows its rows came or went as a file "),
        ("IMPORT PARTITION p TABLESPACE", "rows its rows came or went as a file "),
        ("ENGINE = BLACKHOLE", "rows its engine may keep no rows "),
        ("ADD SYSTEM VERSIONING", "rows its history is kept otherwise "),
        ("DROP PRIMARY KEY", "key"),
        ("ADD PRIMARY KEY (a, b)", "key"),
        ("ADD CONSTRAINT pk PRIMARY KEY (a)", "key"),
        ("DROP INDEX `PRIMARY`", "key"),
        ("ADD FOREIGN KEY (a) REFERENCES u (id) ON DELETE CASCADE", "foreign key true"),
        (
            "ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (id) ON UPDATE SET NULL ON DELETE RESTRICT",
            "foreign key true",
        ),
        ("ADD CONSTRAINT f FOREIGN KEY i (a) REFERENCES u (id) ON UPDATE NO ACTION", "foreign key false"),
        ("CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "convert Some(\"utf8mb4\")"),
        ("DEFAULT CHARSET = latin1", "charset Some(\"latin1\") None"),
        ("RENAME TO `other`.`u`", "move to other.u"),
        ("RENAME u", "move to u"),
    ] {
        assert_eq!(specs(text), [expected], "{text}");
    }
    let Definition::Alter(alter) = of("ALTER ONLINE IGNORE TABLE IF EXISTS `s`.`t` WAIT 5 ADD UNIQUE (a)") else {
        panic!("unread")
    };
    assert!(alter.ignores && alter.table == table("s.t"));
    assert_eq!(of("DROP INDEX `PRIMARY` ON t"), Definition::Unread);
}

#[test]
fn tables_come_go_and_are_called_otherwise() {
    for (text, expected) in [
        ("TRUNCATE t", Definition::Truncate(table("t"))),
        ("truncate table `shop`.`t` /* generated by server */", Definition::Truncate(table("shop.t"))),
        ("DROP TABLE `shop`.`t` /* generated by server */", Definition::Drop(vec![table("shop.t")])),
        ("DROP TABLE IF EXISTS a, `b c` CASCADE;", Definition::Drop(vec![table("a"), table("b c")])),
        ("drop database `shop`", Definition::DropSchema("shop".into())),
        ("CREATE TABLE IF NOT EXISTS a.b LIKE t", Definition::Create { table: table("a.b"), replaces: false }),
        ("CREATE OR REPLACE TABLE t (a int)", Definition::Create { table: table("t"), replaces: true }),
        (
            "RENAME TABLE t TO _t_del, `_t_gho` TO t",
            Definition::Rename(vec![(table("t"), table("_t_del")), (table("_t_gho"), table("t"))]),
        ),
        ("rename table a.t WAIT 3 to b.t", Definition::Rename(vec![(table("a.t"), table("b.t"))])),
    ] {
        assert_eq!(of(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_known_word_by_word_is_not_read() {
    for text in [
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "REPAIR TABLE t",
        "SET STATEMENT lock_wait_timeout = 1 FOR ALTER TABLE t ADD c int",
        "DROP TABLE t, u v",
        "TRUNCATE t u",
        "CREATE TABLE",
        "DROP TABLE `t",
        "ALTER TABLE t ADD c int 'x",
        "",
        ";",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "ALTER TABLE t /*!80000 ADD c int */",
        "ALTER TABLE t /*M! ADD c int */",
        "ALTER TABLE t /*!100100 ADD c int */",
        "LOAD DATA INFILE 'x' INTO TABLE t",
    ] {
        assert_eq!(of(text), Definition::Unread, "{text}");
    }
    for text in [
        "ADD c serial",
        "ADD c strange",
        "ADD c varchar(70000)",
        "ADD c varchar",
        "ADD c int DEFAULT 1 + 2",
        "ADD c int DEFAULT 1 OR 2",
        "ADD c int FIRST SECOND",
        "ADD c char(3) BYTE",
        "ADD c int DEFAULT _utf8'x'",
        "ADD c varchar(3) DEFAULT 'a' 'b'",
        "ADD c text(5)",
        "ADD c float(60)",
        "ADD (c int FIRST)",
        "ADD c int WITHOUT SYSTEM VERSIONING",
        "CHARACTER",
        "DEFAULT",
        "SOMETHING = 5",
        "ADD c int,, ADD d int",
        "ADD COLUMN",
    ] {
        assert_eq!(specs(text), ["unread"], "{text}");
    }
}

#[test]
fn quotes_mean_what_the_mode_says() {
    let ansi = Modes { ansi_quotes: true, ..Modes::default() };
    let text = "DROP TABLE \"a\"\"b\"";
    assert_eq!(Definition::of(text, ansi), Definition::Drop(vec![table("a\"b")]));
    assert_eq!(of(text), Definition::Unread);
    let plain = Modes { no_backslash_escapes: true, ..Modes::default() };
    let text = "ALTER TABLE t ADD c varchar(9) DEFAULT 'a\\'";
    let Definition::Alter(alter) = Definition::of(text, plain) else { panic!("unread") };
    assert_eq!(words(&alter.specs[0]), "add c varchar(9) = 'a\\'");
    assert_eq!(of(text), Definition::Unread);
    assert_eq!(specs("ADD c varchar(9) DEFAULT 'a\\n\\'b''\\%\\q'"), ["add c varchar(9) = 'a\n'b'\\%q'"]);
    assert_eq!(specs("ADD c varchar(9) DEFAULT \"it's\"\"\""), ["add c varchar(9) = 'it's\"'"]);
    assert_eq!(Definition::of("ALTER TABLE t ADD c real", Modes { real_as_float: true, ..plain }), Definition::Unread);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_run_for_ever(text: String, ansi_quotes: bool, no_backslash_escapes: bool) {
        let modes = Modes { ansi_quotes, no_backslash_escapes, ..Modes::default() };
        drop(Definition::of(&text, modes));
        drop(Definition::of(&format!("ALTER TABLE t {text}"), modes));
    }

    #[test]
    fn no_words_make_it_panic_or_run_for_ever(words in proptest::collection::vec(prop::sample::select(vec![
        "ADD", "COLUMN", "(", ")", ",", "c", "int", "varchar", "5", "'x'", "DEFAULT", "CHARACTER", "SET", "COLLATE", "PARTITION", "BY", "ENGINE", "=",
        "RENAME", "TO", ".", "`q`", "CHANGE", "MODIFY", "DROP", "INDEX", "PRIMARY", "KEY", "FOREIGN", "REFERENCES", "ON", "DELETE", "AS", "FIRST",
        "AFTER", "CONVERT", "TABLE", "REMOVE", "CONSTRAINT", "CHECK", "/*!", "*/", "enum", "WITH", "EXCHANGE", ";", "-", "ORDER", "NOT", "NULL",
    ]), 0..14)) {
        let text = words.join(" ");
        drop(of(&text));
        drop(of(&format!("ALTER TABLE t {text}")));
        drop(of(&format!("CREATE {text}")));
    }
}
