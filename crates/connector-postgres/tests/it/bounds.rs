//! Where a task ends by itself, on real servers: the target's rows are those that the source had there.

use wavemark_domain::Fault;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::Ended;

use crate::support::pair::{Pair, rows_of};
use crate::support::run::{ended, refused, told, until};

const TABLES: [&str; 2] = ["goods", "moves"];

const SCHEMA: &str = "\
    CREATE TABLE goods (id integer PRIMARY KEY, name text, left_over numeric(10,2)); \
    CREATE TABLE moves (id integer PRIMARY KEY, good integer REFERENCES goods (id), at timestamptz); \
    INSERT INTO goods SELECT n, 'good ' || n, n / 3.0 FROM generate_series(1, 200) n";

/// Small transactions and one that comes in several parts, streamed before it is committed.
const CHANGES: [&str; 5] = [
    "UPDATE goods SET name = upper(name) WHERE id % 3 = 0",
    "INSERT INTO moves SELECT n, 1 + n % 200, now() FROM generate_series(1, 50) n",
    "BEGIN; INSERT INTO moves SELECT n, 1 + n % 200, now() FROM generate_series(1000, 120000) n; \
     DELETE FROM moves WHERE id < 20; COMMIT",
    "UPDATE goods SET id = id + 1000 WHERE id NOT IN (SELECT good FROM moves); UPDATE goods SET left_over = 0",
    "BEGIN; DELETE FROM moves WHERE id > 60000; TRUNCATE moves; COMMIT",
];

/// The source after a transaction.
struct Moment {
    lsn: String,
    time: String,
    rows: [Vec<String>; 2],
}

async fn rows(client: &tokio_postgres::Client) -> [Vec<String>; 2] {
    [rows_of(client, TABLES[0]).await, rows_of(client, TABLES[1]).await]
}

/// A task that has loaded, and what the source was after each change.
async fn changed() -> (Pair, Vec<Moment>) {
    let settings = [("track_commit_timestamp", "on"), ("logical_decoding_work_mem", "64kB")];
    let pair = Pair::start(&settings).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    let run = pair.run(1, TaskKind::FullLoadAndCdc, &TABLES, settings_for(StopAt::Loaded));
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    assert_eq!(rows(&pair.mart).await, rows(&pair.source).await);
    let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated";
    assert_eq!(pair.mart.query_one(keys, &[]).await.unwrap().get::<_, i64>(0), 1, "its foreign key is there");
    let mut moments = Vec::new();
    for change in CHANGES {
        pair.source.batch_execute(change).await.unwrap();
        moments.push(Moment {
            lsn: pair.ask("SELECT pg_current_wal_insert_lsn()::text").await,
            time: pair
                .ask("SELECT to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') FROM pg_last_committed_xact()")
                .await,
            rows: rows(&pair.source).await,
        });
    }
    (pair, moments)
}

fn settings_for(stop_at: StopAt) -> TaskSettings {
    TaskSettings { stop_at, memory_mib: 8, idle_seconds: 1, ..TaskSettings::default() }
}

#[tokio::test]
async fn a_task_that_ends_at_a_position_leaves_the_rows_that_were_there() {
    let (pair, moments) = changed().await;
    for (epoch, moment) in (2..).zip(&moments) {
        let stop_at = StopAt::Position(moment.lsn.clone());
        let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &TABLES, settings_for(stop_at));
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        let found = rows(&pair.mart).await;
        assert!(found == moment.rows, "at {}", moment.lsn);
        let bookmark = run.status.progress().bookmark.unwrap();
        let within = format!("SELECT ('{bookmark}'::pg_lsn <= '{}'::pg_lsn)::text", moment.lsn);
        assert_eq!(pair.ask(&within).await, "true", "{bookmark} is beyond {}", moment.lsn);
        let said = format!("at position {}, as stop_at says: the target has everything up to {bookmark}", moment.lsn);
        assert!(told(&run, "stop-reached")[0].contains(&said), "{:?}", told(&run, "stop-reached"));
    }
    let behind = StopAt::Position(moments[0].lsn.clone());
    let problem = refused(&pair.run(9, TaskKind::FullLoadAndCdc, &TABLES, settings_for(behind))).await;
    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "stop-passed"), "{problem}");
    let foreign = StopAt::Position("mysql-bin.000024:373".to_owned());
    let problem = refused(&pair.run(10, TaskKind::FullLoadAndCdc, &TABLES, settings_for(foreign))).await;
    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "not-a-position"), "{problem}");
}

#[tokio::test]
async fn a_task_that_ends_at_a_commit_time_leaves_the_rows_that_were_committed_by_then() {
    let (pair, moments) = changed().await;
    for (epoch, moment) in (2..).zip(&moments) {
        let stop_at: StopAt = format!("commit-time:{}", moment.time).parse().unwrap();
        // The last one is over by the source's clock alone, since nothing follows it.
        let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &TABLES, settings_for(stop_at));
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        assert!(rows(&pair.mart).await == moment.rows, "at {}", moment.time);
    }
}

fn from_slot(position: &str) -> TaskSettings {
    TaskSettings {
        start_slot: "mine".to_owned(),
        start_publication: "my tables".to_owned(),
        start_position: position.to_owned(),
        ..settings_for(StopAt::Never)
    }
}

/// A source with a publication and a slot that its people made, and a target that they loaded from the slot's snapshot
/// with PostgreSQL's own programs.
async fn loaded_by_hand(prepare: &str) -> Pair {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    pair.source.batch_execute(prepare).await.unwrap();
    // A transaction that is committed before the slot, and one after it that the dump must not have.
    pair.source.batch_execute("UPDATE goods SET name = 'before' WHERE id = 1").await.unwrap();
    pair.source.batch_execute("SELECT pg_create_logical_replication_slot('mine', 'pgoutput')").await.unwrap();
    let port = pair.cluster.port.to_string();
    let dump = std::process::Command::new(pair.cluster.program("pg_dump"))
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "--no-publications",
            "--inserts",
            "-t",
            "goods",
            "-t",
            "moves",
            "postgres",
        ])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8(dump.stdout).unwrap();
    // psql's own commands are not for the server.
    let statements: Vec<&str> = dump.lines().filter(|line| !line.starts_with('\\')).collect();
    pair.mart.batch_execute(&statements.join("\n")).await.unwrap();
    pair.mart.batch_execute("RESET search_path").await.unwrap();
    pair
}

const PUBLICATION: &str = "CREATE PUBLICATION \"my tables\" FOR TABLE goods, moves";

#[tokio::test]
async fn a_task_that_only_follows_begins_at_a_slot_that_people_made() {
    let pair = loaded_by_hand(PUBLICATION).await;
    for change in CHANGES {
        pair.source.batch_execute(change).await.unwrap();
    }
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let stopping = || TaskSettings { stop_at: StopAt::Position(end.clone()), ..from_slot("") };
    let run = pair.run(1, TaskKind::Cdc, &TABLES, stopping());
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    assert_eq!(told(&run, "start-named").len(), 1);
    assert!(rows(&pair.mart).await == rows(&pair.source).await);
    assert!(
        run.source.log_state(&run.task, None, std::time::Duration::ZERO).await.unwrap().kept_bytes.is_some(),
        "the slot that keeps log is known"
    );

    // Its clean-up leaves what people made, unless they say otherwise.
    let there = "SELECT (SELECT count(*) FROM pg_replication_slots) || ' ' || (SELECT count(*) FROM pg_publication)";
    let run = pair.run(2, TaskKind::Cdc, &TABLES, from_slot(""));
    run.source.clean_up(&run.task).await.unwrap();
    assert_eq!(pair.ask(there).await, "1 1");
    let run = pair.run(2, TaskKind::Cdc, &TABLES, TaskSettings { drop_start_slot: true, ..from_slot("") });
    run.source.clean_up(&run.task).await.unwrap();
    assert_eq!(pair.ask(there).await, "0 1");
}

#[tokio::test]
async fn a_start_takes_what_ends_after_it_and_nothing_before() {
    let pair = loaded_by_hand(PUBLICATION).await;
    // The target has the first change by other means; the slot would give it once more.
    for client in [&pair.source, &pair.mart] {
        client.batch_execute("INSERT INTO goods VALUES (5000, 'by hand', 1)").await.unwrap();
    }
    let start = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    pair.source.batch_execute("UPDATE goods SET name = 'after' WHERE id = 5000").await.unwrap();
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let settings = TaskSettings { stop_at: StopAt::Position(end), ..from_slot(&start) };
    assert_eq!(ended(&pair.run(1, TaskKind::Cdc, &TABLES, settings)).await.unwrap(), Ended::Finished);
    assert!(rows(&pair.mart).await == rows(&pair.source).await);
}

#[tokio::test]
async fn a_start_that_can_not_be_is_refused_before_anything_is_written() {
    let pair = loaded_by_hand("CREATE PUBLICATION \"my tables\" FOR TABLE goods WITH (publish = 'insert')").await;
    let refusal = async |settings: TaskSettings| {
        let run = pair.run(1, TaskKind::Cdc, &TABLES, settings);
        let problem = refused(&run).await;
        assert!(problem.advice.is_some() || problem.fault == Fault::Settings, "{problem}");
        (problem.code, problem.text)
    };
    let (code, text) = refusal(from_slot("")).await;
    assert_eq!((&*code, &*text), ("start-publication", "The publication my tables leaves kinds of changes out."));
    pair.source
        .batch_execute("ALTER PUBLICATION \"my tables\" SET (publish = 'insert, update, delete, truncate')")
        .await
        .unwrap();
    let (_, text) = refusal(from_slot("")).await;
    assert_eq!(text, "The publication my tables does not have public.moves.");
    pair.source.batch_execute("ALTER PUBLICATION \"my tables\" ADD TABLE moves").await.unwrap();

    let no_slot = TaskSettings { start_slot: "yours".to_owned(), ..from_slot("") };
    assert_eq!(refusal(no_slot).await.1, "There is no replication slot yours, which start_slot names.");
    let no_publication = TaskSettings { start_publication: "yours".to_owned(), ..from_slot("") };
    assert_eq!(refusal(no_publication).await.1, "There is no publication yours, which start_publication names.");
    assert_eq!(refusal(from_slot("FFFF/0")).await.0, "start-ahead");
    assert_eq!(refusal(from_slot("0/1")).await.0, "slot-ahead");
    pair.source.batch_execute("SELECT pg_create_physical_replication_slot('body')").await.unwrap();
    let physical = TaskSettings { start_slot: "body".to_owned(), ..from_slot("") };
    assert_eq!(refusal(physical).await.1, "The replication slot body is not a logical one with the plugin pgoutput.");
    assert_eq!(pair.mart.query("SELECT FROM wavemark.progress", &[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_publication_with_generated_columns_is_refused_where_a_table_has_some() {
    let pair = loaded_by_hand("SELECT 1").await;
    // Older servers never have them in the log.
    if pair.ask("SELECT (current_setting('server_version_num')::int >= 180000)::text").await == "false" {
        return;
    }
    let generated = "ALTER TABLE goods ADD double numeric GENERATED ALWAYS AS (left_over * 2) STORED";
    let publication =
        "CREATE PUBLICATION \"my tables\" FOR TABLE goods, moves WITH (publish_generated_columns = stored)";
    pair.source.batch_execute(&format!("{generated}; {publication}")).await.unwrap();
    let problem = refused(&pair.run(1, TaskKind::Cdc, &TABLES, from_slot(""))).await;
    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "start-publication"), "{problem}");
    assert_eq!(
        problem.text,
        "The publication my tables has the generated columns of public.goods, which the target makes itself."
    );
    // Without such a column it is as any other.
    let pair = loaded_by_hand(publication).await;
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let settings = TaskSettings { stop_at: StopAt::Position(end), ..from_slot("") };
    assert_eq!(ended(&pair.run(1, TaskKind::Cdc, &TABLES, settings)).await.unwrap(), Ended::Finished);
    assert!(rows(&pair.mart).await == rows(&pair.source).await);
}

#[tokio::test]
async fn a_publication_that_is_younger_than_the_slot_is_told_as_that() {
    let pair = loaded_by_hand("SELECT 1").await;
    pair.source.batch_execute("INSERT INTO goods VALUES (6000, 'too early', 1)").await.unwrap();
    pair.source.batch_execute(PUBLICATION).await.unwrap();
    let problem = refused(&pair.run(1, TaskKind::Cdc, &TABLES, from_slot(""))).await;
    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "start-publication"), "{problem}");
    assert!(problem.text.contains("was not there yet where the replication slot mine begins"), "{problem}");
}

#[tokio::test]
async fn tables_of_a_publication_for_all_tables_are_followed_on_after_the_catalog_was_looked_at() {
    follows_on("FOR ALL TABLES").await;
}

#[tokio::test]
async fn tables_of_a_publication_for_a_schema_are_followed_on_after_the_catalog_was_looked_at() {
    follows_on("FOR TABLES IN SCHEMA public").await;
}

async fn follows_on(of_what: &str) {
    let pair = loaded_by_hand(&format!("CREATE PUBLICATION \"my tables\" {of_what}")).await;
    let settings = TaskSettings { idle_seconds: 1, stop_at: StopAt::Never, ..from_slot("") };
    let run = pair.run(1, TaskKind::Cdc, &TABLES, settings);
    let own = run.clone();
    let running = tokio::spawn(async move { own.run().await });
    // It is looked every third heartbeat.
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    pair.source.batch_execute("UPDATE goods SET name = 'late' WHERE id < 10").await.unwrap();
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(told(&run, "table-parked"), Vec::<String>::new());
    let settings = TaskSettings { stop_at: StopAt::Position(end), ..from_slot("") };
    assert_eq!(ended(&pair.run(2, TaskKind::Cdc, &TABLES, settings)).await.unwrap(), Ended::Finished);
    assert!(rows(&pair.mart).await == rows(&pair.source).await);
}

/// What refuses a start for its publication, and the statements by which that is mended.
async fn unfit(pair: &Pair, tables: &[&str]) -> (String, String) {
    let problem = refused(&pair.run(1, TaskKind::Cdc, tables, from_slot(""))).await;
    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "start-publication"), "{problem}");
    let advice = problem.advice.unwrap();
    let (statements, then) = advice.rsplit_once(';').unwrap();
    assert!(then.starts_with(" Then make the slot anew"), "{advice}");
    (problem.text, statements.to_owned())
}

#[tokio::test]
async fn a_publication_that_names_partitions_and_not_their_root_is_refused() {
    let pair = Pair::start(&[]).await;
    let parts = "CREATE TABLE parts (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id); \
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100); \
        CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200)";
    pair.source.batch_execute(parts).await.unwrap();
    pair.mart.batch_execute("CREATE TABLE parts (id integer PRIMARY KEY, n integer)").await.unwrap();
    let slot = "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')";
    for of_what in ["FOR TABLE parts", "FOR TABLE parts_1, parts_2", "FOR ALL TABLES"] {
        let publication =
            format!("CREATE PUBLICATION \"my tables\" {of_what} WITH (publish_via_partition_root = false)");
        pair.source.batch_execute(&publication).await.unwrap();
        pair.source.batch_execute(slot).await.unwrap();
        let (text, mend) = unfit(&pair, &["parts"]).await;
        assert_eq!(text, "The publication my tables names partitions of public.parts, not it.", "{of_what}");
        assert_eq!(mend, "ALTER PUBLICATION \"my tables\" SET (publish_via_partition_root = true)");
        pair.source.batch_execute(&mend).await.unwrap();
        if of_what == "FOR TABLE parts_1, parts_2" {
            // Each then goes by its own name still.
            assert_eq!(unfit(&pair, &["parts"]).await.0, "The publication my tables does not have public.parts.");
        }
        if of_what != "FOR ALL TABLES" {
            pair.source.batch_execute("DROP PUBLICATION \"my tables\"").await.unwrap();
            pair.source.batch_execute("SELECT pg_drop_replication_slot('mine')").await.unwrap();
        }
    }
    // As the advice says to the end.
    pair.source.batch_execute("SELECT pg_drop_replication_slot('mine')").await.unwrap();
    pair.source.batch_execute(slot).await.unwrap();
    pair.source
        .batch_execute("INSERT INTO parts VALUES (1, 1), (101, 1); UPDATE parts SET id = 102 WHERE id = 1")
        .await
        .unwrap();
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let settings = TaskSettings { stop_at: StopAt::Position(end), ..from_slot("") };
    assert_eq!(ended(&pair.run(1, TaskKind::Cdc, &["parts"], settings)).await.unwrap(), Ended::Finished);
    assert_eq!(rows_of(&pair.mart, "parts").await, ["(101,1)", "(102,1)"]);
}

#[tokio::test]
async fn a_publication_of_some_columns_or_rows_is_refused() {
    for (of_goods, how) in [
        ("goods (id, name)", "its publication has not all of its columns"),
        ("goods WHERE (id < 100)", "its publication has not all of its rows"),
    ] {
        let pair = loaded_by_hand(&format!("CREATE PUBLICATION \"my tables\" FOR TABLE {of_goods}, moves")).await;
        let (text, mend) = unfit(&pair, &TABLES).await;
        assert_eq!(text, format!("The publication my tables does not fit the mapping for public.goods: {how}."));
        // A slot that is made before would still read what was written without it.
        pair.source.batch_execute(&mend).await.unwrap();
        pair.source.batch_execute("SELECT pg_drop_replication_slot('mine')").await.unwrap();
        pair.source.batch_execute("SELECT pg_create_logical_replication_slot('mine', 'pgoutput')").await.unwrap();
        pair.source.batch_execute("UPDATE goods SET left_over = 5 WHERE id IN (99, 199)").await.unwrap();
        let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
        let settings = TaskSettings { stop_at: StopAt::Position(end), ..from_slot("") };
        assert_eq!(ended(&pair.run(1, TaskKind::Cdc, &TABLES, settings)).await.unwrap(), Ended::Finished, "{of_goods}");
        assert!(rows(&pair.mart).await == rows(&pair.source).await, "{of_goods}");
    }
}

/// A program of somebody else that reads the slot; it confirms nothing, and ends with this.
struct Reader(std::process::Child);

impl Reader {
    fn start(pair: &Pair) -> Self {
        let port = pair.cluster.port.to_string();
        let mut command = pair.cluster.beside(&pair.cluster.program("pg_recvlogical"));
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", "postgres", "-S", "mine", "--start"]);
        command.args(["--no-loop", "--status-interval=0", "--fsync-interval=0", "-f", "/dev/null"]);
        command.args(["-o", "proto_version=1", "-o", "publication_names=\"my tables\""]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // One that is gone already will do as well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_slot_that_somebody_else_reads_is_waited_for_and_its_reader_let_be() {
    let pair = loaded_by_hand(PUBLICATION).await;
    let reader = Reader::start(&pair);
    let holder = "SELECT coalesce(max(active_pid), 0)::text FROM pg_replication_slots";
    until(async || pair.ask(holder).await != "0").await;
    let pid = pair.ask(holder).await;
    for change in CHANGES {
        pair.source.batch_execute(change).await.unwrap();
    }
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let settings = TaskSettings { stop_at: StopAt::Position(end), ..from_slot("") };
    let run = pair.run(1, TaskKind::Cdc, &TABLES, settings);
    let freed = async {
        until(async || run.status.progress().retries >= 3).await;
        let waits = run.status.progress().waiting_for.unwrap();
        assert_eq!((waits.fault, &*waits.code), (Fault::Transient, "slot-held"), "{waits}");
        let text =
            format!("The replication slot mine is read by somebody else: server process {pid} (\"pg_recvlogical\").");
        assert_eq!(waits.text, text);
        assert_eq!(waits.advice.as_deref(), Some("Stop that reader; what it confirms, the task loses."));
        assert_eq!(pair.ask(holder).await, pid, "it is never ended by the task");
        assert_eq!(told(&run, "slot-held").len(), 1, "told once, however often it is tried");
        drop(reader);
    };
    let (finished, ()) = tokio::join!(ended(&run), freed);
    assert_eq!(finished.unwrap(), Ended::Finished);
    assert!(rows(&pair.mart).await == rows(&pair.source).await);
}
