//! Transactions out of events that are written here byte by byte.

use proptest::prelude::*;
use wavemark_connector::source::Replan;
use wavemark_domain::layout::RenamedTablePolicy;
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{ChangeKind, ColumnPlan, Encoding, LayoutStep, Table, TableName};

use super::*;
use crate::defaults::Dialect;
use crate::examples;
use crate::log::Server;
use crate::position::Memo;

mod images;
mod statements;
mod temporary;
mod types;
mod unfinished;

const QUERY: u8 = 2;
const ROTATE: u8 = 4;
pub(crate) const XID: u8 = 16;
const TABLE_MAP: u8 = 19;
const WRITE_ROWS: u8 = 30;
const PAYLOAD: u8 = 40;

/// `shop.t (id int PRIMARY KEY)`.
pub(crate) fn plan() -> TablePlan {
    examples::plan(vec![examples::int("id")], &["id"])
}

/// A plan in which every column travels.
struct Whole;

impl Replan for Whole {
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
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
        let at = |name: &String| columns.iter().position(|column| column.target_name == *name).unwrap();
        let key = table.key.iter().map(at).collect();
        Ok(TablePlan { id, source: Arc::clone(table), target: table.name.clone(), columns, key, ..plan() })
    }
}

pub(crate) fn rules(settings: TaskSettings) -> Rules {
    let server = Server {
        dialect: Dialect::Mysql,
        folds_names: false,
        lowers_names: false,
        logs_rows: true,
        logs_actions: false,
    };
    Rules { replan: Some(Arc::new(Whole)), settings, server }
}

fn assembler() -> Assembler {
    Assembler::new(&[plan()], Start::at(place(100)), rules(TaskSettings::default()))
}

pub(crate) fn place(offset: u64) -> Place {
    Place::new("bin.000001", offset, "s").unwrap()
}

pub(crate) fn event(kind: u8, next: u32, body: &[u8]) -> Vec<u8> {
    let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
    event.push(kind);
    event.extend(7_u32.to_le_bytes());
    event.extend(u32::try_from(19 + body.len()).unwrap().to_le_bytes());
    event.extend(next.to_le_bytes());
    event.extend([0, 0]);
    event.extend(body);
    event
}

/// Events within another say places that are none.
pub(crate) fn within(kind: u8, body: &[u8]) -> Vec<u8> {
    event(kind, 4_711, body)
}

/// With an empty `sql_mode`.
pub(crate) fn statement(text: &str) -> Vec<u8> {
    let head = [0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    within(QUERY, &[&head[..], b"shop\0", text.as_bytes()].concat())
}

pub(crate) fn announced() -> Vec<u8> {
    within(TABLE_MAP, &[&[7, 0, 0, 0, 0, 0, 1, 0, 4][..], b"shop\0", &[1], b"t\0", &[1, 3, 0, 0]].concat())
}

pub(crate) fn inserted(ids: std::ops::Range<i32>) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1];
    for id in ids {
        body.push(0);
        body.extend(id.to_le_bytes());
    }
    within(WRITE_ROWS, &body)
}

pub(crate) fn payload(next: u32, events: &[Vec<u8>]) -> Bytes {
    let packed = zstd::encode_all(events.concat().as_slice(), 3).unwrap();
    let mut body = vec![2, 1, 0, 1, 4, 0xFD];
    body.extend(&u32::try_from(packed.len()).unwrap().to_le_bytes()[..3]);
    body.push(0);
    body.extend(packed);
    event(PAYLOAD, next, &body).into()
}

fn all(assembler: &mut Assembler, event: &Bytes) -> Result<(), Problem> {
    assembler.event(event)?;
    while assembler.packed_event()? {}
    Ok(())
}

#[test]
fn a_compressed_transaction_ends_where_its_event_ends() {
    let mut assembler = assembler();
    let events = [statement("BEGIN"), announced(), inserted(0..2), inserted(2..5), within(XID, &[0; 8])];
    all(&mut assembler, &payload(900, &events)).unwrap();
    all(&mut assembler, &payload(1_500, &events)).unwrap();
    let taken = assembler.take();
    let ends: Vec<_> = taken.batch.transactions().iter().map(|mark| (mark.end.clone(), mark.changes_end)).collect();
    assert_eq!(ends, [(place(900).to_position(&Memo::default()), 5), (place(1_500).to_position(&Memo::default()), 10)]);
    assert!(taken.batch.transactions().iter().all(|mark| mark.committed_at == 1_700_000_000_000_000));
    assert!(!taken.batch.is_open());
    assert_eq!(assembler.position(), place(1_500).to_position(&Memo::default()));
}

#[test]
fn what_is_not_unpacked_yet_is_no_progress() {
    let mut assembler = assembler();
    let events = [statement("BEGIN"), announced(), inserted(0..2), within(XID, &[0; 8])];
    assembler.event(&payload(900, &events)).unwrap();
    for _ in 0..2 {
        assert!(!assembler.has_progress());
        assert!(assembler.take().batch.is_empty());
        assert!(assembler.packed_event().unwrap());
    }
    assert!(assembler.packed_event().unwrap());
    let taken = assembler.take();
    assert_eq!((taken.batch.changes().len(), taken.batch.transactions().len()), (2, 0));
    assert_eq!(taken.open_end, Some(place(101).to_position(&Memo::default())));
    while assembler.packed_event().unwrap() {}
    let taken = assembler.take();
    assert_eq!(taken.batch.transactions().len(), 1);
    assert_eq!(taken.batch.transactions()[0].end, place(900).to_position(&Memo::default()));
}

#[test]
fn a_large_compressed_transaction_is_given_out_while_it_is_unpacked() {
    let mut assembler = assembler();
    let mut events = vec![statement("BEGIN"), announced()];
    events.extend((0..100).map(|at| inserted(at * 100..at * 100 + 100)));
    events.push(within(XID, &[0; 8]));
    assembler.event(&payload(900, &events)).unwrap();
    let (mut changes, mut ends) = (0, Vec::new());
    while assembler.packed_event().unwrap() {
        if assembler.bytes() >= 10_000 {
            let taken = assembler.take();
            assert!(taken.batch.bytes() < 20_000);
            changes += taken.batch.changes().len();
            ends.extend(taken.batch.transactions().to_vec());
        }
    }
    let taken = assembler.take();
    changes += taken.batch.changes().len();
    ends.extend(taken.batch.transactions().to_vec());
    assert_eq!(changes, 10_000);
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].end, place(900).to_position(&Memo::default()));
    assert_eq!(assembler.packed_bytes(), 0);
}

#[test]
fn what_is_more_or_less_than_one_transaction_is_refused() {
    let xid = within(XID, &[0; 8]);
    let whole = [statement("BEGIN"), announced(), inserted(0..2), xid.clone()];
    let nested = payload(900, &whole).to_vec();
    let rotation = within(ROTATE, &[&4_u64.to_le_bytes()[..], b"bin.000009"].concat());
    for events in [
        whole[..3].to_vec(),
        [whole.to_vec(), whole.to_vec()].concat(),
        [whole.to_vec(), vec![inserted(3..4)]].concat(),
        vec![statement("BEGIN"), nested, xid.clone()],
        vec![statement("BEGIN"), rotation, xid],
    ] {
        let problem = all(&mut assembler(), &payload(900, &events)).unwrap_err();
        assert_eq!(problem.code, "log-malformed");
        assert!(problem.to_string().contains("bin.000001:100"), "{problem}");
    }
}

/// The events of one that is prepared under a name, as MySQL writes them.
fn prepared(name: &str, ids: std::ops::Range<i32>, is_committed: u8) -> Vec<Vec<u8>> {
    let [begin, end] = ["START", "END"].map(|word| statement(&format!("XA {word} {name}")));
    vec![begin, announced(), inserted(ids), end, within(38, &[is_committed])]
}

fn commit(name: &str) -> Vec<u8> {
    statement(&format!("XA COMMIT {name}"))
}

const A: &str = "X'61',X'',1";
const B: &str = "X'62',X'',1";

#[test]
fn what_is_prepared_counts_where_it_is_committed() {
    let mut assembler = assembler();
    let other = vec![statement("BEGIN"), announced(), inserted(7..8), within(XID, &[0; 8])];
    let roll_back = statement(&format!("XA ROLLBACK {B}"));
    let events = [prepared(A, 0..2, 0), prepared(B, 2..9, 0), other, vec![roll_back, commit(A)]].concat();
    assert_eq!(told(&mut assembler, &events), ["insert insert insert 1@1500 3@1700"]);
}

#[test]
fn what_is_committed_in_one_step_counts_at_once() {
    assert_eq!(told(&mut assembler(), &prepared(A, 0..2, 1)), ["insert insert 2@600"]);
}

#[test]
fn nothing_is_told_in_the_middle_of_what_is_prepared() {
    let mut assembler = assembler();
    for (at, event) in (2..).zip(&prepared(A, 0..2, 0)[..4]) {
        assembler.event(&up_to(at * 100, event.clone())).unwrap();
        assert!(!assembler.has_progress() && assembler.is_open());
    }
    // A server that died has left it unfinished.
    assembler
        .event(&up_to(700, within(15, &[&[4, 0][..], &[0; 54], &[19], &[0; 40], &[0], &[0; 4]].concat())))
        .unwrap();
    assert!(assembler.has_progress());
}

#[test]
fn a_large_one_and_one_from_before_are_wanted_again() {
    let mut assembler = assembler();
    let large: Vec<_> = (0..300).map(|at| inserted(at * 1_000..at * 1_000 + 1_000)).collect();
    let events = [&prepared(A, 0..1, 0)[..2], &large, &prepared(A, 0..1, 0)[3..], &[commit(A)]].concat();
    assert_eq!(told(&mut assembler, &events), [""]);
    let wanted = assembler.wanted().unwrap().clone();
    assert_eq!((&*wanted.name, wanted.begin.map(|begin| begin.offset)), (A, Some(100)));
    for event in [announced(), inserted(0..2)] {
        assembler.read_again(&(event.into(), Checksum::None)).unwrap();
    }
    assembler.has_read_again(true);
    assert_eq!(words(&assembler.take()), format!("insert insert 2@{}", wanted.commit.offset));

    assembler.event(&up_to(90_000, commit(B))).unwrap();
    assert_eq!(assembler.wanted().unwrap().begin, None);
    assembler.has_read_again(false);
    assert_eq!(words(&assembler.take()), "transaction-not-followed 1@90000");
}

/// The event as it stands in the file, up to `next`.
pub(crate) fn up_to(next: u32, mut event: Vec<u8>) -> Bytes {
    event[13..17].copy_from_slice(&next.to_le_bytes());
    event.into()
}

#[test]
fn a_transaction_of_which_all_was_given_out_ends_before_the_next_begins() {
    let mut assembler = assembler();
    for (next, written) in [(200, statement("BEGIN")), (300, announced()), (400, inserted(0..2))] {
        assembler.event(&up_to(next, written)).unwrap();
    }
    assert_eq!(assembler.take().open_end, Some(place(101).to_position(&Memo::default())));
    for (next, written) in
        [(500, within(XID, &[0; 8])), (600, statement("BEGIN")), (700, inserted(2..3)), (800, within(XID, &[0; 8]))]
    {
        assembler.event(&up_to(next, written)).unwrap();
    }
    let taken = assembler.take();
    let ends: Vec<_> = taken.batch.transactions().iter().map(|mark| (mark.end.clone(), mark.changes_end)).collect();
    assert_eq!(ends, [(place(500).to_position(&Memo::default()), 0), (place(800).to_position(&Memo::default()), 1)]);
}

#[test]
fn a_place_that_goes_back_is_refused() {
    let mut assembler = assembler();
    assembler.event(&up_to(4_000_000_000, statement("BEGIN"))).unwrap();
    let problem = assembler.event(&up_to(500, within(XID, &[0; 8]))).unwrap_err();
    assert_eq!(problem.code, "log-malformed");
    assert_eq!(assembler.position(), place(4_000_000_000).to_position(&Memo::default()));
}

/// The server counts in 32 bits, and begins anew beyond them.
#[test]
fn places_beyond_4_gib_are_counted_on() {
    let mut assembler = assembler();
    let begin = statement("BEGIN");
    let before = u32::MAX - u32::try_from(begin.len()).unwrap();
    assembler.event(&up_to(before, statement("SAVEPOINT a"))).unwrap();
    assembler.event(&up_to(u32::MAX, begin)).unwrap();
    let end = within(XID, &[0; 8]);
    assembler.event(&up_to(26, end)).unwrap();
    assert_eq!(assembler.position(), place((1 << 32) + 26).to_position(&Memo::default()));
    // A sign of life, which says where the log is.
    assembler.event(&up_to(26, within(27, b"bin.000001"))).unwrap();
    assert_eq!(assembler.position(), place((1 << 32) + 26).to_position(&Memo::default()));
}

/// Takes events that end at 200, 300 and so on, and gives out what comes; each batch by its layouts, changes and barriers.
fn told(assembler: &mut Assembler, events: &[Vec<u8>]) -> Vec<String> {
    let mut told = Vec::new();
    for (at, event) in (2..).zip(events) {
        assembler.event(&up_to(at * 100, event.clone())).unwrap();
        while assembler.is_full() {
            told.push(words(&assembler.take()));
        }
    }
    told.push(words(&assembler.take()));
    told
}

fn words(taken: &Taken) -> String {
    let step = |layout: &Relayout| layout.steps.iter().map(LayoutStep::words).collect::<Vec<_>>().join(" and ");
    let mut words: Vec<String> = taken.layouts.iter().map(|layout| format!("[{}]", step(layout))).collect();
    let mut barriers = taken.barriers.iter();
    words.extend(taken.batch.changes().iter().map(|change| match change.kind {
        ChangeKind::Barrier => barriers.next().unwrap().1.code.clone(),
        kind => format!("{kind:?}").to_lowercase(),
    }));
    let ends = taken.batch.transactions().iter().map(|mark| {
        let place = Place::from_position(&mark.end).unwrap();
        format!("{}@{}", mark.changes_end, place.offset)
    });
    words.extend(ends);
    words.join(" ")
}

/// `t` with so many columns of type `int`.
fn announced_with(columns: u8) -> Vec<u8> {
    let kinds = vec![3; usize::from(columns)];
    within(
        TABLE_MAP,
        &[&[8, 0, 0, 0, 0, 0, 1, 0, 4][..], b"shop\0", &[1], b"t\0", &[columns], &kinds, &[0, 0]].concat(),
    )
}

fn wide() -> Vec<u8> {
    within(WRITE_ROWS, &[8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 0b11, 0, 1, 0, 0, 0, 2, 0, 0, 0])
}

fn xid() -> Vec<u8> {
    within(XID, &[0; 8])
}

#[test]
fn a_layout_stands_between_the_rows_before_it_and_those_behind() {
    let begin = || statement("BEGIN");
    let events = [
        vec![begin(), announced(), inserted(0..2), xid(), statement("ALTER TABLE T ADD x int")],
        vec![statement("ALTER TABLE t ADD INDEX (id)"), statement("ALTER TABLE t ADD c int")],
        vec![statement("ALTER TABLE shop.t RENAME COLUMN c TO d"), begin(), announced_with(2), wide(), xid()],
    ];
    assert_eq!(
        told(&mut assembler(), &events.concat()),
        ["insert insert 2@500", "[column c was added] 0@800", "[column c was renamed to d] insert 0@900 1@1300"]
    );
}

#[test]
fn rows_that_are_not_of_the_layout_end_their_table() {
    let events =
        [statement("BEGIN"), announced_with(2), wide(), xid(), statement("BEGIN"), announced(), inserted(0..1), xid()];
    assert_eq!(told(&mut assembler(), &events), ["table-changed 1@500 1@900"]);
    let events = [statement("ALTER TABLE t ADD c int"), statement("BEGIN"), announced(), inserted(0..1), xid()];
    assert_eq!(told(&mut assembler(), &events), ["[column c was added] table-changed 0@200 1@600"]);
}

#[test]
fn what_a_layout_was_noted_for_is_not_done_again() {
    let mut noted = plan();
    let table = Table { native: serde_json::json!({"since": "1:500"}), ..(*noted.source).clone() };
    noted.source = Arc::new(table);
    let mut assembler = Assembler::new(&[noted], Start::at(place(100)), rules(TaskSettings::default()));
    let events = [
        vec![
            statement("DROP TABLE t"),
            statement("ALTER TABLE t DROP x"),
            statement("TRUNCATE t"),
            statement("ALTER TABLE t ADD y int"),
        ],
        vec![statement("BEGIN"), announced(), inserted(0..1), xid(), statement("TRUNCATE t")],
    ];
    assert_eq!(told(&mut assembler, &events.concat()), ["insert truncate 1@900 2@1000"]);
    // Rows of another table that had its name, too.
    let mut noted = plan();
    noted.source = Arc::new(Table { native: serde_json::json!({"since": "1:700"}), ..(*noted.source).clone() });
    let mut assembler = Assembler::new(&[noted], Start::at(place(100)), rules(TaskSettings::default()));
    let events = [
        vec![
            statement("BEGIN"),
            announced(),
            inserted(0..1),
            xid(),
            statement("RENAME TABLE t TO u"),
            statement("RENAME TABLE v TO t"),
        ],
        vec![statement("BEGIN"), announced(), inserted(0..1), xid()],
    ];
    assert_eq!(told(&mut assembler, &events.concat()), ["insert 1@1100"]);
}

#[test]
fn a_name_that_another_table_takes_is_a_swap() {
    let mut assembler = assembler();
    let events =
        [statement("RENAME TABLE t TO _t_del, _t_gho TO t"), statement("BEGIN"), announced(), inserted(0..1), xid()];
    for (at, event) in (2..).zip(events) {
        assembler.event(&up_to(at * 100, event)).unwrap();
    }
    let taken = assembler.take();
    let (_, problem) = &taken.barriers[0];
    assert_eq!(problem.code, "table-swapped");
    assert!(problem.text.contains("shop._t_gho, has its name since"), "{}", problem.text);
    assert_eq!((taken.batch.changes().len(), taken.tables_came), (1, true));
}

#[test]
fn a_table_goes_on_under_its_next_name_where_the_settings_say_so() {
    let settings = || TaskSettings { renamed_tables: RenamedTablePolicy::Apply, ..TaskSettings::default() };
    let of = |renames: &str| {
        told(&mut Assembler::new(&[plan()], Start::at(place(100)), rules(settings())), &[statement(renames)])
    };
    assert_eq!(of("RENAME TABLE t TO u"), ["[it was renamed from shop.t to shop.u] 0@200"]);
    assert_eq!(
        of("ALTER TABLE t ADD c int, RENAME TO other.u"),
        ["[it was renamed from shop.t to other.u and column c was added] 0@200"]
    );
    assert_eq!(of("RENAME TABLE t TO u, u TO t"), ["0@200"]);
    assert_eq!(of("RENAME TABLE t TO u, x TO t"), ["table-swapped 1@200"]);
    assert_eq!(of("RENAME TABLE t TO x, x TO y"), ["[it was renamed from shop.t to shop.y] 0@200"]);
    assert_eq!(told(&mut assembler(), &[statement("RENAME TABLE t TO u")]), ["table-changed 1@200"]);
}

#[test]
fn what_ends_a_table_shares_the_place_of_the_layouts_that_come_with_it() {
    let mut other = plan();
    let table = Table { name: TableName::new("shop", "u"), ..(*other.source).clone() };
    other = TablePlan { id: TableId(1), source: Arc::new(table), ..other };
    let settings = TaskSettings { renamed_tables: RenamedTablePolicy::Apply, ..TaskSettings::default() };
    let mut assembler = Assembler::new(&[plan(), other], Start::at(place(100)), rules(settings));
    let events =
        [statement("BEGIN"), announced(), inserted(0..1), xid(), statement("RENAME TABLE t TO v, u TO w, x TO u")];
    let found = told(&mut assembler, &events);
    assert_eq!(found, ["insert 1@500", "[it was renamed from shop.t to shop.v] table-swapped 1@600"]);
}

#[test]
fn an_alter_that_has_only_begun_is_not_in_force() {
    let gtid = |more: u8| within(162, &[&[0; 12][..], &[1, more, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
    let alter = || statement("ALTER TABLE t ADD c int");
    let events = [gtid(2), alter(), gtid(8), alter(), gtid(4), alter()];
    assert_eq!(told(&mut assembler(), &events), ["[column c was added] 0@700"]);
}

#[test]
fn tables_of_a_schema_that_is_dropped_are_gone() {
    assert_eq!(told(&mut assembler(), &[statement("DROP DATABASE IF EXISTS `shop`")]), ["table-dropped 1@200"]);
    assert_eq!(told(&mut assembler(), &[statement("DROP DATABASE other")]), ["0@200"]);
}

#[test]
fn names_are_compared_as_the_server_does() {
    let events = [statement("TRUNCATE TABLE SHOP.T")];
    assert_eq!(told(&mut assembler(), &events), ["0@200"]);
    let mut folding = rules(TaskSettings::default());
    folding.server.folds_names = true;
    assert_eq!(told(&mut Assembler::new(&[plan()], Start::at(place(100)), folding), &events), ["truncate 1@200"]);
}

#[test]
fn an_event_that_nobody_knows_is_refused() {
    let problem = assembler().event(&up_to(200, within(120, &[1, 2, 3]))).unwrap_err();
    assert_eq!(problem.code, "log-event-unknown");
    assert!(problem.text.contains("bin.000001:100: number 120"), "{}", problem.text);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(parts in proptest::collection::vec((prop::sample::select(vec![2, 16, 19, 23, 30, 31, 32, 40, 162, 165, 166, 170]), any::<Vec<u8>>()), 0..8)) {
        let mut events = vec![statement("BEGIN"), announced()];
        events.extend(parts.iter().map(|(kind, body)| within(*kind, body)));
        drop(all(&mut assembler(), &payload(900, &events)));
        let mut plain = assembler();
        for event in events {
            drop(plain.event(&event.into()));
        }
        drop(plain.take());
    }
}
