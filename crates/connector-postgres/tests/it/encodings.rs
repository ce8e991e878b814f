//! Databases of other encodings than UTF8 as source: text arrives as the same characters, or, where nobody knows what
//! they are, as the same bytes.

use std::sync::Arc;

use crate::support::Cluster;
use crate::support::pair::{connect, follow_until, load};
use crate::support::task;
use crate::support::task::{Fixture, endpoint};
use tokio_postgres::Client;
use wavemark_connector::source::{BlockFormat, View};
use wavemark_connector::target::{ChunkMark, Opened, Segment, Stage, TableMark, Target, Verdict, WaveEnd};
use wavemark_connector::{Connector as _, EndpointSettings};
use wavemark_connector_postgres::Postgres;
use wavemark_connector_postgres::encoding::COPY_BINARY;
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, Problem, TablePlan, WaveNumber};

/// Two databases, and a task from one to the other.
struct Two {
    source: Client,
    target: Client,
    fixture: Fixture,
    to: Arc<dyn Target>,
    _cluster: Cluster,
}

fn of_database(cluster: &Cluster, name: &str) -> EndpointSettings {
    let mut endpoint = endpoint(cluster, "postgres");
    endpoint.values["database"] = name.into();
    endpoint
}

impl Two {
    async fn start(source: &str, target: &str) -> Self {
        let cluster = Cluster::start(&[("fsync", "off")]);
        for (name, encoding) in [("shop", source), ("mart", target)] {
            let locale = "LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
            cluster.sql(&format!("CREATE DATABASE {name} ENCODING '{encoding}' {locale}"));
        }
        let mut fixture = Fixture::new(&cluster);
        fixture.source = Postgres.source(&of_database(&cluster, "shop")).unwrap();
        let to = Postgres.target(&of_database(&cluster, "mart")).unwrap();
        let source = connect(&cluster, "shop").await;
        source
            .batch_execute("CREATE TABLE t (id int PRIMARY KEY, note text, code char(4), many text[])")
            .await
            .unwrap();
        source.batch_execute("CREATE TABLE the_end (n int PRIMARY KEY)").await.unwrap();
        Self { source, target: connect(&cluster, "mart").await, fixture, to, _cluster: cluster }
    }

    /// Loads, then follows these statements to their end; `bytes` is an expression of what is compared.
    async fn copies(&self, changes: &[&str], bytes: &str) {
        let plan = self.fixture.plan(&["t", "the_end"]).await;
        let mut opened = self.to.open(&self.fixture.task).await.unwrap();
        opened.session.attach(&plan).await.unwrap();
        let view = self.fixture.begin(&plan).await;
        let start = view.position().clone();
        load(&mut opened, &*view, &plan).await;
        drop(view);
        assert_eq!(shown(&self.target, bytes).await, shown(&self.source, bytes).await, "after the load");
        for change in changes {
            self.source.batch_execute(change).await.unwrap();
        }
        self.source.batch_execute("INSERT INTO the_end VALUES (1)").await.unwrap();
        follow_until(&self.fixture, &mut opened, (&plan, &start), async || {
            self.target.query_one("SELECT EXISTS (SELECT FROM the_end)", &[]).await.unwrap().get(0)
        })
        .await;
        assert_eq!(shown(&self.target, bytes).await, shown(&self.source, bytes).await, "at the end");
    }
}

async fn shown(client: &Client, bytes: &str) -> Vec<String> {
    let sql = format!("SELECT id || ' ' || {bytes} FROM t ORDER BY id");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Text as UTF-8, whatever the database has.
const CHARACTERS: &str = "concat_ws('|', encode(convert_to(note, 'UTF8'), 'hex'), encode(convert_to(code, 'UTF8'), 'hex'), \
    encode(convert_to(many::text, 'UTF8'), 'hex'))";
/// Text as the database has it.
const BYTES: &str = "concat_ws('|', encode(convert_to(note, 'SQL_ASCII'), 'hex'), encode(convert_to(code, 'SQL_ASCII'), \
    'hex'), encode(convert_to(many::text, 'SQL_ASCII'), 'hex'))";

/// What the load of a table in one chunk is refused with.
async fn refused_load(opened: &mut Opened, view: &dyn View, table: &TablePlan) -> Problem {
    let entered = view.enter(table).await.unwrap();
    let ranges = view.chunks(table, 1 << 20).await.unwrap();
    let mark = TableMark {
        source: table.name().clone(),
        began: view.position().clone(),
        position: view.position().clone(),
        storage: entered.storage,
        stage: Stage::Loading,
        chunks: vec![ChunkMark { number: 0, range: ranges[0].clone(), done: None }],
    };
    opened.session.begin_table(table, Preparation::Truncate, &mark).await.unwrap();
    let mut rows = view.read(table, &ranges[0], BlockFormat::Stream(COPY_BINARY), None).await.unwrap();
    opened.loaders[0].load(table, 0, &mut *rows, &|_| {}).await.unwrap_err()
}

#[tokio::test]
async fn text_of_a_latin_database_arrives_as_the_same_characters() {
    let two = Two::start("LATIN1", "UTF8").await;
    two.source.batch_execute("INSERT INTO t VALUES (1, 'Zoë £5', 'é', '{\"ü\",NULL,\"ß x\"}')").await.unwrap();
    let changes = ["INSERT INTO t VALUES (2, 'naïve ÿ', 'ÄÖÜß', '{}')", "UPDATE t SET note = note || 'æ' WHERE id = 1"];
    two.copies(&changes, CHARACTERS).await;
    // Written out once: nothing was changed on both sides alike.
    assert_eq!(shown(&two.target, "note").await, ["1 Zoë £5æ", "2 naïve ÿ"]);
    assert_eq!(shown(&two.source, "encode(convert_to(note, 'LATIN1'), 'hex')").await[1], "2 6e61ef766520ff");
}

#[tokio::test]
async fn what_event_triggers_of_a_latin_database_tell_has_the_same_characters() {
    let mut two = Two::start("LATIN1", "UTF8").await;
    two.fixture.task.settings.event_triggers = true;
    two.source.batch_execute("INSERT INTO t VALUES (1, 'Zoë', 'é', '{}')").await.unwrap();
    let alter = "ALTER TABLE t DROP code, ADD code char(4) DEFAULT 'ÿ', ADD \"größe\" text DEFAULT 'üß'";
    two.copies(&[alter], "concat_ws('|', code, to_jsonb(t) ->> 'größe')").await;
    assert_eq!(shown(&two.target, "concat_ws('|', code, \"größe\")").await, ["1 ÿ   |üß"]);
}

#[tokio::test]
async fn event_triggers_let_alterations_through_whose_bytes_are_of_no_encoding() {
    let mut two = Two::start("SQL_ASCII", "SQL_ASCII").await;
    two.fixture.task.settings.event_triggers = true;
    let plan = two.fixture.plan(&["t"]).await;
    drop(two.fixture.begin(&plan).await);
    let alter = "DO $$ BEGIN EXECUTE 'ALTER TABLE t ADD more text DEFAULT ' || \
        quote_literal(convert_from('\\xe920', 'SQL_ASCII')); END $$";
    two.source.batch_execute(alter).await.unwrap();
    two.source.batch_execute("INSERT INTO t (id) VALUES (1)").await.unwrap();
    assert_eq!(shown(&two.source, "encode(convert_to(more, 'SQL_ASCII'), 'hex')").await, ["1 e920"]);
}

#[tokio::test]
async fn text_of_a_japanese_database_arrives_as_the_same_characters() {
    let two = Two::start("EUC_JP", "UTF8").await;
    two.source.batch_execute("INSERT INTO t VALUES (1, '日本語', 'ｱｲ', '{\"漢字\"}')").await.unwrap();
    two.copies(&["INSERT INTO t VALUES (2, 'ひらがな', 'x', '{}')"], CHARACTERS).await;
    assert_eq!(shown(&two.target, "note").await, ["1 日本語", "2 ひらがな"]);
}

#[tokio::test]
async fn text_that_nobody_knows_arrives_byte_by_byte_where_the_target_takes_it() {
    let two = Two::start("SQL_ASCII", "SQL_ASCII").await;
    // é of LATIN1, a character of UTF-8 cut short, and one that is whole.
    let odd = |hex: &str| format!("convert_from('\\x{hex}', 'SQL_ASCII')");
    let insert = format!("INSERT INTO t VALUES (1, {}, {}, ARRAY[{}])", odd("e9206f"), odd("e282"), odd("e282ac"));
    two.source.batch_execute(&insert).await.unwrap();
    let changes = [
        format!("INSERT INTO t VALUES (2, {}, 'x', '{{}}')", odd("ff00fe").replace("00", "01")),
        format!("UPDATE t SET note = {} WHERE id = 1", odd("c3c3")),
    ];
    two.copies(&changes.each_ref().map(String::as_str), BYTES).await;
    assert_eq!(shown(&two.target, "encode(convert_to(note, 'SQL_ASCII'), 'hex')").await, ["1 c3c3", "2 ff01fe"]);
}

#[tokio::test]
async fn text_that_is_no_utf_8_is_refused_by_a_target_that_is_and_left_out_by_its_row() {
    let two = Two::start("SQL_ASCII", "UTF8").await;
    two.source.batch_execute("INSERT INTO t VALUES (1, 'plain', 'x', '{}')").await.unwrap();
    let plan = two.fixture.plan(&["t"]).await;
    let findings = two.fixture.source.assess(&two.fixture.task, &plan).await.unwrap();
    assert!(findings.iter().any(|finding| finding.code == "encoding-unknown"), "{findings:?}");
    let mut opened = two.to.open(&two.fixture.task).await.unwrap();
    opened.session.attach(&plan).await.unwrap();
    let view = two.fixture.begin(&plan).await;
    let start = view.position().clone();
    load(&mut opened, &*view, &plan).await;
    drop(view);
    let odd = "convert_from('\\xe9', 'SQL_ASCII')";
    two.source
        .batch_execute(&format!("INSERT INTO t VALUES (2, {odd}, 'x', '{{}}'), (3, 'good', 'x', '{{}}')"))
        .await
        .unwrap();
    let mut reader = two.fixture.follow(&plan, &start).await;
    let read = loop {
        let read = tokio::time::timeout(task::PATIENCE, reader.next(1 << 20)).await.unwrap().unwrap();
        if !read.batch.changes().is_empty() {
            break read;
        }
    };
    let mut told = Vec::new();
    let segment = Segment::whole(&read.batch);
    opened
        .session
        .apply_carefully(&plan, &segment, wavemark_connector::target::Checks::AsDeclared, &mut |row| {
            let problem = row.problem;
            told.push((
                problem.fault,
                problem.code.clone(),
                problem.advice.clone().unwrap_or_default(),
                problem.to_string(),
            ));
            Verdict::LeaveOut
        })
        .await
        .unwrap();
    let mark = read.batch.transactions().last().unwrap();
    let position_text = two.fixture.source.describe(&mark.end);
    let end = WaveEnd {
        wave: WaveNumber(1),
        position: &mark.end,
        position_text: &position_text,
        committed_at: None,
        parked: &[],
    };
    opened.session.commit(&end).await.unwrap();
    assert_eq!(told.len(), 1);
    let (fault, code, advice, text) = &told[0];
    assert_eq!((*fault, code.as_str()), (Fault::Data, "invalid-text"));
    assert!(advice.contains("use a target of encoding SQL_ASCII"), "{advice}");
    assert!(!text.contains("e9"), "{text}");
    assert_eq!(shown(&two.target, "note").await, ["1 plain", "3 good"]);
    let noted = "SELECT key::text || ' ' || code FROM wavemark.exceptions";
    let noted: String = two.target.query_one(noted, &[]).await.unwrap().get(0);
    assert!(noted.contains('2') && noted.ends_with("22021"), "{noted}");

    // By a load the table is refused as a whole.
    let view = two.fixture.begin(&plan).await;
    let problem = refused_load(&mut opened, &*view, &plan[0]).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Data, "invalid-text"), "{problem:?}");
}

#[tokio::test]
async fn a_character_that_the_targets_encoding_lacks_is_told_as_that() {
    let two = Two::start("UTF8", "LATIN1").await;
    two.source.batch_execute("INSERT INTO t VALUES (1, 'Zoë', 'é', '{\"ü\"}')").await.unwrap();
    two.copies(&["INSERT INTO t VALUES (2, 'ÿ', 'x', '{}')"], CHARACTERS).await;
    let two = Two::start("UTF8", "LATIN1").await;
    two.source.batch_execute("INSERT INTO t VALUES (1, '10 €', 'x', '{}')").await.unwrap();
    let plan = two.fixture.plan(&["t"]).await;
    let mut opened = two.to.open(&two.fixture.task).await.unwrap();
    opened.session.attach(&plan).await.unwrap();
    let view = two.fixture.begin(&plan).await;
    let problem = refused_load(&mut opened, &*view, &plan[0]).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Data, "untranslatable-text"), "{problem:?}");
}
