//! Any bytes as a log, followed until something of it is refused: what the fuzz targets run, and in short the tests.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use wavemark_connector::source::Replan;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{Column, ColumnPlan, Encoding, Fault, Problem, Table, TableId, TableName, TablePlan};

use super::assembler::{Assembler, Taken};
use super::layout::{Rules, Server};
use super::start::Start;
use crate::charset::{Charsets, Tree};
use crate::defaults::Dialect;
use crate::encoding;
use crate::fields::Fields;
use crate::native::{ColumnNative, labels};
use crate::position::Place;

const QUERY: u8 = 2;

/// Events one after the other, each as its kind (one byte), the length of what it has behind its header (two, the lower one
/// first) and that; what is left at the end is one more.
pub fn log(bytes: &[u8]) {
    let mut rest = Fields(bytes);
    let mut follower = Follower::new();
    while let Some(event) = event(&mut rest) {
        if follower.take(&event).is_err() {
            return;
        }
    }
}

/// A statement in a log: the lowest bits of the first byte say in which of the modes that are read, and the rest is its text.
pub fn statement(bytes: &[u8]) {
    const MODES: [u64; 4] = [1, 4, 1 << 20, 1 << 21];
    let Some((first, text)) = bytes.split_first() else { return };
    let mode = (0..MODES.len()).filter(|at| first & 1 << at != 0).fold(0, |mode, at| mode | MODES[at]);
    let variables = [&[1][..], &mode.to_le_bytes(), &[4, 45, 0, 45, 0, 45, 0]].concat();
    let length = u8::try_from(variables.len()).unwrap_or_default();
    let head = [&[0; 8][..], &[4, 0, 0, length, 0], &variables, b"shop\0"].concat();
    let event = with_header(QUERY, &[&head, text].concat());
    drop(Follower::new().take(&event));
}

fn event(rest: &mut Fields<'_>) -> Option<Bytes> {
    let kind = rest.u8().ok()?;
    let length = usize::from(rest.u16().ok()?).min(rest.0.len());
    rest.take(length).ok().map(|body| with_header(kind, body))
}

fn with_header(kind: u8, body: &[u8]) -> Bytes {
    let length = u32::try_from(19 + body.len()).unwrap_or_default().to_le_bytes();
    [&[0, 0, 0, 0, kind, 1, 0, 0, 0][..], &length, &[0; 6], body].concat().into()
}

/// Does what the reader does, without a server.
struct Follower {
    assembler: Assembler,
    /// How many columns of each table travel.
    widths: Vec<usize>,
}

impl Follower {
    fn new() -> Self {
        let plan: Vec<TablePlan> =
            tables().into_iter().zip(0..).map(|(table, id)| whole(TableId(id), &table)).collect();
        let widths = plan.iter().map(|table| table.columns.len()).collect();
        let server = Server {
            dialect: Dialect::Mysql,
            folds_names: false,
            lowers_names: false,
            logs_rows: true,
            logs_actions: false,
        };
        let rules = Rules { replan: Some(Arc::new(Whole)), settings: TaskSettings::default(), server };
        let place = Place::new("bin.000001", 4, "s").expect("its name has a number");
        Self { assembler: Assembler::new(&plan, Start::at(place), rules), widths }
    }

    fn take(&mut self, event: &Bytes) -> Result<(), Problem> {
        self.learn();
        self.assembler.event(event)?;
        while self.assembler.packed_event()? {
            self.give();
        }
        // What was prepared elsewhere is not found again.
        self.assembler.has_read_again(false);
        self.give();
        Ok(())
    }

    /// Each set that is asked for is one of ASCII and a character of two bytes.
    fn learn(&mut self) {
        let mut told = Charsets::default();
        for name in self.assembler.lacking() {
            let ascii = (0..128_u8).map(|byte| (vec![byte], char::from(byte)));
            told.insert(name.clone(), Tree::of(ascii.chain([(vec![0x81, 0x40], '丂')]), name == "gb18030"));
        }
        self.assembler.learn(told);
    }

    /// Whatever is given out can be read.
    fn give(&mut self) {
        let Taken { batch, layouts, .. } = self.assembler.take();
        for relayout in layouts {
            self.widths[relayout.plan.id.index()] = relayout.plan.columns.len();
        }
        for change in batch.changes() {
            let width = self.widths[change.table.index()];
            let rows = [batch.old(change, width), batch.new_row(change, width)];
            assert!(
                rows.into_iter()
                    .flatten()
                    .flatten()
                    .all(|cell| batch.value(*cell).is_none_or(|value| value.len() < usize::MAX))
            );
        }
        assert!(batch.transactions().is_sorted_by(|a, b| a.changes_end <= b.changes_end));
    }
}

/// A plan in which every column travels.
struct Whole;

impl Replan for Whole {
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
        let untold = |column: &&Column| encoding::logical(column).is_none();
        match table.columns.iter().find(untold) {
            None => Ok(whole(id, table)),
            Some(column) => Err(Problem::new(Fault::Data, "type", format!("Column {} has no type.", column.name))),
        }
    }
}

fn whole(id: TableId, table: &Arc<Table>) -> TablePlan {
    let travelling = table.columns.iter().enumerate().filter(|(_, column)| !column.generated);
    let columns: Vec<ColumnPlan> = travelling
        .map(|(source, column)| ColumnPlan {
            source,
            target_name: column.name.clone(),
            encoding: Encoding::named("x"),
            unfit: wavemark_domain::UnfitPolicy::default(),
            as_text: None,
        })
        .collect();
    let at = |name: &String| columns.iter().position(|column| column.target_name == *name);
    TablePlan {
        id,
        source: Arc::clone(table),
        declared: None,
        target: table.name.clone(),
        key: table.key.iter().filter_map(at).collect(),
        columns,
        rows: None,
        schema_version: 1,
    }
}

/// Of each type that a row of MySQL's log can have, and one without a key as MariaDB's has them. `fuzz/seeds/log` is of such tables.
fn tables() -> Vec<Arc<Table>> {
    let text = |set: &str| ColumnNative { charset: Some(set.to_owned()), length: Some(300), ..ColumnNative::default() };
    let digits = |digits| ColumnNative { digits, ..ColumnNative::default() };
    let plain = ColumnNative::default;
    let numbers = |precision, scale| ColumnNative { precision: Some(precision), scale, ..ColumnNative::default() };
    let labelled = || ColumnNative { labels: labels("('a','b','é')"), ..text("sjis") };
    let all = vec![
        ("id", "bigint", plain()),
        ("n", "mediumint", ColumnNative { unsigned: true, ..plain() }),
        ("d", "decimal", numbers(12, Some(3))),
        ("f", "float", plain()),
        ("g", "double", plain()),
        ("y", "year", plain()),
        ("w", "bit", numbers(10, None)),
        ("c", "char", text("utf8mb4")),
        ("v", "varchar", text("gbk")),
        ("l", "varchar", text("latin1")),
        ("u", "text", text("ucs2")),
        ("b", "varbinary", plain()),
        ("bi", "binary", ColumnNative { length: Some(4), ..plain() }),
        ("o", "blob", plain()),
        ("e", "enum", labelled()),
        ("s", "set", labelled()),
        ("da", "date", plain()),
        ("ti", "time", digits(3)),
        ("dt", "datetime", digits(6)),
        ("ts", "timestamp", digits(2)),
        ("j", "json", plain()),
        ("k", "json", plain()),
        ("p", "point", plain()),
    ];
    let loose = vec![
        ("id", "int", plain()),
        ("i", "inet6", plain()),
        ("q", "inet4", plain()),
        ("x", "uuid", plain()),
        ("t", "varchar", text("utf8mb4")),
        ("o", "longtext", text("big5")),
    ];
    vec![table("t", all, &["id"]), table("loose", loose, &[])]
}

fn table(name: &str, columns: Vec<(&str, &str, ColumnNative)>, key: &[&str]) -> Arc<Table> {
    let columns = columns.into_iter().map(|(name, data_type, native)| Column {
        name: name.to_owned(),
        declared: data_type.to_owned(),
        not_null: key.contains(&name),
        generated: false,
        native: json!(ColumnNative { data_type: data_type.to_owned(), ..native }),
    });
    Arc::new(Table {
        name: TableName::new("shop", name),
        kind: TableKind::Table,
        columns: columns.collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        rows_estimated: None,
        bytes_estimated: None,
        native: json!({"collation": "utf8mb4_bin"}),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds");

    fn seeds(of: &str) -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(format!("{SEEDS}/{of}")).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    /// What servers wrote of these tables is read to its end, with rows.
    #[test]
    fn logs_of_servers_are_followed_whole() {
        for seed in seeds("log") {
            let mut follower = Follower::new();
            let (mut rest, mut changes) = (Fields(&seed), 0);
            while let Some(event) = event(&mut rest) {
                follower.learn();
                follower.assembler.event(&event).unwrap();
                while follower.assembler.packed_event().unwrap() {}
                let taken = follower.assembler.take();
                assert_eq!(taken.barriers, []);
                changes += taken.batch.changes().len();
            }
            assert!(changes > 5, "{changes}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_change_of_a_log_makes_it_panic(which: prop::sample::Index, changes: Vec<(prop::sample::Index, u8)>) {
            let seeds = seeds("log");
            let mut bytes = seeds[which.index(seeds.len())].clone();
            for (at, to) in changes.into_iter().take(9) {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            log(&bytes);
        }

        #[test]
        fn no_change_of_a_statement_makes_it_panic(which: prop::sample::Index, at: prop::sample::Index, to: Vec<u8>) {
            let seeds = seeds("statement");
            let mut bytes = seeds[which.index(seeds.len())].clone();
            let at = at.index(bytes.len());
            bytes.splice(at..at, to.into_iter().take(4));
            statement(&bytes);
        }
    }
}
