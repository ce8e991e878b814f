//! Alterations of one table and what becomes of it.

use serde_json::json;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{ColumnPlan, Encoding, TableId};

use super::*;
use crate::log::ddl::{Definition, Modes};
use crate::unsaid::{Told, Unsaid};

/// A plan in which every column travels but those whose names begin with `hidden`.
struct Mapping;

impl Replan for Mapping {
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
        let is_chosen = |column: &Column| !column.generated && !column.name.starts_with("hidden");
        let chosen = table.columns.iter().enumerate().filter(|(_, column)| is_chosen(column));
        let columns: Vec<ColumnPlan> = chosen
            .map(|(source, column)| ColumnPlan {
                source,
                target_name: column.name.clone(),
                encoding: Encoding::named("x"),
                unfit: wavemark_domain::UnfitPolicy::default(),
                as_text: None,
            })
            .collect();
        let at = |name: &String| columns.iter().position(|column| column.target_name == *name).unwrap();
        let key = table.key.iter().map(at).collect();
        let (source, target) = (Arc::clone(table), table.name.clone());
        Ok(TablePlan { id, source, declared: None, target, columns, key, rows: None, schema_version: 1 })
    }
}

fn column(name: &str, not_null: bool, native: &ColumnNative) -> Column {
    let unsaid = Unsaid::told(native, Told { is_null: true, not_null });
    let native = &ColumnNative { unsaid, ..native.clone() };
    Column { name: name.into(), declared: native.data_type.clone(), not_null, generated: false, native: json!(native) }
}

fn of_type(data_type: &str) -> ColumnNative {
    ColumnNative { data_type: data_type.into(), ..ColumnNative::default() }
}

/// `t (id int PRIMARY KEY, n int NOT NULL, word varchar(20), size enum('s','m'))`, with texts in latin1.
fn table() -> Table {
    let latin1 = |native| ColumnNative { charset: Some("latin1".into()), ..native };
    let labels = vec!["s".to_owned(), "m".to_owned()];
    Table {
        name: TableName::new("shop", "t"),
        kind: TableKind::Table,
        columns: vec![
            column("id", true, &of_type("int")),
            column("n", true, &of_type("int")),
            column("word", false, &latin1(ColumnNative { length: Some(20), ..of_type("varchar") })),
            column("size", false, &latin1(ColumnNative { labels, ..of_type("enum") })),
        ],
        key: vec!["id".into()],
        rows_estimated: None,
        bytes_estimated: None,
        native: json!(TableNative { collation: Some("latin1_swedish_ci".into()), ..TableNative::default() }),
    }
}

fn rules(settings: TaskSettings) -> Rules {
    let server = Server {
        dialect: Dialect::Mariadb,
        folds_names: false,
        lowers_names: false,
        logs_rows: true,
        logs_actions: false,
    };
    Rules { replan: Some(Arc::new(Mapping)), settings, server }
}

fn next(table: &Table, specs: &str, settings: TaskSettings) -> Result<Option<Relayout>, Problem> {
    let plan = Mapping.plan(TableId(0), &Arc::new(table.clone())).unwrap();
    let modes = Modes { strict: true, ..Modes::default() };
    let Definition::Alter(alter) = Definition::of(&format!("ALTER TABLE t {specs}"), modes) else {
        panic!("{specs} is not read")
    };
    let context = Context { plan: &plan, alter: &alter, strict: true, rules: &rules(settings), since: "1:2".into() };
    context.next(plan.name())
}

/// The steps in words, and the columns behind them.
fn told(specs: &str) -> (String, String) {
    let next = next(&table(), specs, TaskSettings::default()).unwrap().unwrap();
    let step = |step: &LayoutStep| match step {
        LayoutStep::Add { column, existing } => format!("add {column} = {existing:?}"),
        other => other.words(),
    };
    let steps: Vec<String> = next.steps.iter().map(step).collect();
    let names: Vec<&str> = next.plan.source.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(TableNative::of(&next.plan.source).since.as_deref(), Some("1:2"));
    (steps.join("; "), names.join(" "))
}

fn refused(specs: &str) -> String {
    let problem = next(&table(), specs, TaskSettings::default()).unwrap_err();
    assert!(["table-changed", "key-acts-unlogged"].contains(&&*problem.code), "{problem}");
    problem.text
}

#[test]
fn columns_come_to_stand_where_the_server_puts_them() {
    for (specs, steps, columns) in [
        ("ADD c int", "add c = None", "id n word size c"),
        ("ADD c int FIRST, ADD d int AFTER c", "add c = None; add d = None", "c d id n word size"),
        ("ADD c int AFTER n, ADD d int AFTER n", "add d = None; add c = None", "id n d c word size"),
        (
            "ADD c int, MODIFY n bigint NOT NULL FIRST, ADD d int AFTER C",
            "column n has another type; add c = None; add d = None",
            "n id word size c d",
        ),
        ("DROP n, ADD n varchar(3) FIRST", "column n was dropped; add n = None", "n id word size"),
        ("MODIFY word varchar(20) FIRST", "", "word id n size"),
        (
            "RENAME COLUMN n TO word, RENAME COLUMN word TO n",
            "column n was renamed to word; column word was renamed to n",
            "id word n size",
        ),
        (
            "CHANGE N amount bigint NOT NULL",
            "column n was renamed to amount; column amount has another type",
            "id amount word size",
        ),
        ("CHANGE id number int NOT NULL AFTER size", "column id was renamed to number", "n word size number"),
        ("MODIFY n int", "column n may be NULL", "id n word size"),
        ("MODIFY size enum('m','s','it''s')", "column size has another type", "id n word size"),
        ("ADD COLUMN IF NOT EXISTS n text, DROP COLUMN IF EXISTS x, DROP word", "column word was dropped", "id n size"),
        ("ADD hidden_one int, DROP word", "column word was dropped", "id n size hidden_one"),
        ("CONVERT TO CHARACTER SET utf8mb4", "", "id n word size"),
        ("DEFAULT CHARACTER SET utf8mb4", "", "id n word size"),
    ] {
        assert_eq!(told(specs), (steps.to_owned(), columns.to_owned()), "{specs}");
    }
    let changed = next(&table(), "CHANGE id number int NOT NULL", TaskSettings::default()).unwrap().unwrap();
    assert_eq!(changed.plan.source.key, ["number"]);
    let added = next(
        &table(),
        "ADD a varchar(9), ADD b text COLLATE utf8mb4_bin, CONVERT TO CHARSET ucs2",
        TaskSettings::default(),
    )
    .unwrap()
    .unwrap();
    let charsets =
        added.plan.source.columns.iter().map(|column| ColumnNative::of(column).unwrap().charset.unwrap_or_default());
    assert_eq!(charsets.collect::<Vec<_>>(), ["", "", "ucs2", "ucs2", "ucs2", "ucs2"]);
}

#[test]
fn what_changes_nothing_is_no_other_layout() {
    for specs in [
        "ADD INDEX (n), ENGINE = InnoDB",
        "MODIFY n int NOT NULL DEFAULT 0 COMMENT 'x'",
        "MODIFY n int(11) NOT NULL",
        "ADD COLUMN IF NOT EXISTS n text",
        "MODIFY id int",
        "PARTITION BY HASH (id)",
        "RENAME COLUMN n TO n",
        "MODIFY size enum('s','m') CHARSET latin1",
    ] {
        assert_eq!(next(&table(), specs, TaskSettings::default()).unwrap(), None, "{specs}");
    }
}

#[test]
fn rows_that_were_there_have_the_default() {
    for (defined, existing) in [
        ("int NOT NULL DEFAULT '-05'", "-5"),
        ("bigint unsigned DEFAULT 18446744073709551615", "18446744073709551615"),
        ("tinyint(1) NOT NULL", "0"),
        ("decimal(9,3) DEFAULT -1.5", "-1.5"),
        ("float DEFAULT 0.1", "0.1"),
        ("double DEFAULT '1e100'", "1e100"),
        ("varchar(5) NOT NULL", ""),
        ("varchar(5) DEFAULT 'it''s'", "it's"),
        ("varchar(5) CHARACTER SET utf8mb4 DEFAULT 'grüß€'", "grüß€"),
        ("char(5) DEFAULT 'a  '", "a"),
        ("varbinary(4) DEFAULT 'ab'", "\\x6162"),
        ("binary(3) NOT NULL", "\\x000000"),
        ("enum('x','y') NOT NULL", "x"),
        ("enum('x','y') DEFAULT 'y'", "y"),
        ("set('x','y','z') DEFAULT 'x,z'", "x,z"),
        ("bit(5) DEFAULT 5", "00101"),
        ("date DEFAULT '2024-02-29'", "2024-02-29"),
        ("datetime(3) DEFAULT '2024-02-29 23:59:59.5'", "2024-02-29 23:59:59.5"),
        ("time NOT NULL", "00:00:00"),
        ("year DEFAULT 2155", "2155"),
    ] {
        assert_eq!(told(&format!("ADD c {defined}")).0, format!("add c = {:?}", Some(existing)), "{defined}");
    }
    assert_eq!(told("ADD c timestamp NULL").0, "add c = None");
    assert_eq!(told("ADD c int DEFAULT NULL").0, "add c = None");
    for defined in [
        "int NOT NULL DEFAULT (1)",
        "datetime DEFAULT CURRENT_TIMESTAMP",
        "timestamp",
        "timestamp NULL DEFAULT '2024-01-01 00:00:00'",
        "date NOT NULL",
        "decimal(3,1) DEFAULT 1.25",
        "decimal(3,1) DEFAULT 100",
        "tinyint DEFAULT 300",
        "int DEFAULT 1.5",
        "float DEFAULT 1e60",
        "float(7,3) DEFAULT 1.5",
        "enum('x') DEFAULT 'X'",
        "set('x','y') DEFAULT 'y,x'",
        "date DEFAULT '0000-00-00'",
        "date DEFAULT '2023-02-29'",
        "time DEFAULT '-01:00:00'",
        "datetime DEFAULT '2024-01-01 00:00:00.5'",
        "bit(3) DEFAULT b'101'",
        "bit(3) DEFAULT 8",
        "uuid NOT NULL",
        "year DEFAULT '18'",
        "varchar(3) DEFAULT 'long'",
        "varchar(9) DEFAULT 'ü'",
        "varchar(9) DEFAULT 007",
        "varchar(9) DEFAULT 1e3",
        "varbinary(9) DEFAULT .5",
        "enum('0','1') DEFAULT 1",
        "int AUTO_INCREMENT UNIQUE",
    ] {
        assert!(refused(&format!("ADD c {defined}")).contains("what the rows that were there have in it"), "{defined}");
    }
}

#[test]
fn a_type_that_may_have_changed_values_is_refused() {
    for (specs, why) in [
        ("MODIFY n smallint NOT NULL", "has another type"),
        ("MODIFY n int unsigned NOT NULL", "has another type"),
        ("MODIFY n varchar(20) NOT NULL", "has another type"),
        ("MODIFY word varchar(19)", "has another type"),
        ("MODIFY word varbinary(80)", "has another type"),
        ("MODIFY word varchar(20) CHARACTER SET ascii", "another character set"),
        ("MODIFY size enum('s')", "has another type"),
        ("MODIFY n int NOT NULL AUTO_INCREMENT", "is counted now"),
        ("MODIFY n int AS (id) STORED", "is generated now"),
        ("CONVERT TO CHARACTER SET ascii", "character set"),
        ("CONVERT TO CHARACTER SET DEFAULT", "not known"),
        ("DROP id", "of its key was dropped"),
        ("DROP PRIMARY KEY", "primary key"),
        ("ADD c int PRIMARY KEY", "primary key"),
        ("DROP PARTITION p", "a partition was dropped"),
        ("ADD FOREIGN KEY (n) REFERENCES u (id) ON DELETE CASCADE", "acts on its rows"),
        ("ADD c int REFERENCES u (id) ON DELETE CASCADE", "acts on its rows"),
        ("DROP x", "can't be followed exactly"),
        ("ADD n int", "two columns have one name"),
        ("DROP n, MODIFY n bigint", "named twice"),
        ("ADD c int AFTER x", "comes after x"),
        ("RENAME COLUMN n TO m, ADD c int AFTER m", "comes after m"),
        ("RENAME COLUMN n TO hidden_n", "other columns of it travel"),
    ] {
        let found = refused(specs);
        assert!(found.contains(why), "{specs}: {found}");
    }
    for specs in [
        "MODIFY n bigint NOT NULL",
        "MODIFY word varchar(21)",
        "MODIFY word text",
        "MODIFY word mediumtext CHARACTER SET utf8mb4",
        "MODIFY word varchar(20) CHARACTER SET utf8mb4",
    ] {
        assert!(next(&table(), specs, TaskSettings::default()).unwrap().is_some(), "{specs}");
    }
}

#[test]
fn what_later_rows_have_that_say_nothing_is_followed() {
    let unsaid = |specs: &str| {
        let relayout = next(&table(), specs, TaskSettings::default()).unwrap().unwrap();
        assert_eq!(relayout.steps, [], "{specs}");
        let column = relayout.plan.source.columns.iter().find(|column| column.name == "word").unwrap();
        ColumnNative::of(column).unwrap().unsaid
    };
    let text = |text: &str| Some(Unsaid::Text(text.to_owned()));
    assert_eq!(unsaid("MODIFY word varchar(20) DEFAULT 'it''s'"), text("it's"));
    assert_eq!(unsaid("MODIFY word varchar(20) DEFAULT (uuid())"), None);
    assert_eq!(unsaid("MODIFY word varchar(20) FIRST"), Some(Unsaid::Null));
    for specs in [
        "ALTER word SET DEFAULT 'x'",
        "ALTER COLUMN WORD DROP DEFAULT",
        "ALTER word SET DEFAULT (uuid()), ADD INDEX (n)",
    ] {
        assert_eq!(unsaid(specs), None, "{specs}");
    }
    // What is as it was is no other layout.
    for specs in
        ["MODIFY word varchar(20)", "MODIFY n int NOT NULL", "ALTER INDEX i INVISIBLE", "ALTER word SET INVISIBLE"]
    {
        assert_eq!(next(&table(), specs, TaskSettings::default()).unwrap(), None, "{specs}");
    }
}

#[test]
fn a_timestamp_is_what_is_said_of_it_in_so_many_words() {
    let mut table = table();
    table.columns.push(column("at", false, &of_type("timestamp")));
    let next = |specs: &str| next(&table, specs, TaskSettings::default());
    for specs in ["MODIFY at timestamp", "MODIFY at timestamp NOT NULL", "CHANGE at made timestamp(3)"] {
        assert!(next(specs).unwrap_err().text.contains("not said to be NULL"), "{specs}");
    }
    assert_eq!(next("MODIFY at timestamp NULL").unwrap(), None);
    assert!(next("MODIFY at timestamp(3) NULL").unwrap().is_some());
}

#[test]
fn the_settings_decide_about_each_kind() {
    let with = |set: fn(&mut TaskSettings)| {
        let mut settings = TaskSettings::default();
        set(&mut settings);
        settings
    };
    let park = with(|settings| {
        settings.added_columns = ColumnPolicy::ParkTable;
        settings.dropped_columns = ColumnPolicy::ParkTable;
        settings.renamed_columns = AlterPolicy::ParkTable;
        settings.retyped_columns = AlterPolicy::ParkTable;
    });
    for specs in ["ADD c int", "DROP n", "RENAME COLUMN n TO m", "MODIFY n bigint NOT NULL"] {
        assert_eq!(next(&table(), specs, park.clone()).unwrap_err().code, "layout-changed", "{specs}");
    }
    let ignore = with(|settings| {
        settings.added_columns = ColumnPolicy::Ignore;
        settings.dropped_columns = ColumnPolicy::Ignore;
    });
    let ignored = next(&table(), "ADD c int NOT NULL FIRST, DROP n", ignore.clone()).unwrap().unwrap();
    assert_eq!(ignored.steps, [LayoutStep::Leave { column: "n".into() }]);
    let names: Vec<&str> = ignored.plan.columns.iter().map(|column| column.target_name.as_str()).collect();
    assert_eq!(names, ["id", "word", "size"]);
    assert_eq!(ignored.plan.source.columns[0].name, "c");
    // Whatever becomes of it later, it does not travel.
    let again = next(&ignored.plan.source, "CHANGE c d bigint NOT NULL AFTER id", ignore).unwrap().unwrap();
    assert_eq!(again.steps, []);
    assert_eq!(again.plan.columns.len(), 3);
    assert_eq!(again.plan.source.columns[1].name, "d");
}

#[test]
fn where_nobody_plans_anew_every_other_layout_ends_the_table() {
    let plan = Mapping.plan(TableId(0), &Arc::new(table())).unwrap();
    let rules = Rules { replan: None, ..rules(TaskSettings::default()) };
    let next = |specs: &str| {
        let Definition::Alter(alter) = Definition::of(&format!("ALTER TABLE t {specs}"), Modes::default()) else {
            panic!()
        };
        Context { plan: &plan, alter: &alter, strict: false, rules: &rules, since: String::new() }.next(plan.name())
    };
    assert!(next("ADD c int").is_err());
    assert_eq!(next("ADD INDEX (n)").unwrap(), None);
    assert!(next("MODIFY word varchar(20) NOT NULL").unwrap_err().text.contains("may not be NULL any more"));
}
