//! Tables that are dropped at the source while a task follows them, and what the settings make of that.

use wavemark_domain::layout::{ChangedTablePolicy, DroppedTablePolicy, NewTablePolicy};
use wavemark_domain::state::TableState;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use crate::support::pair;
use crate::support::pair::Pair;
use crate::support::run::{told, until};

/// A parent with rows, a child that points at it, and one that is neither.
const FILL: &str = "CREATE TABLE parent (id integer PRIMARY KEY, note text); \
                    INSERT INTO parent SELECT n, 'no ' || n FROM generate_series(1, 20) n; \
                    CREATE TABLE child (id integer PRIMARY KEY, of integer REFERENCES parent); \
                    INSERT INTO child SELECT n, n FROM generate_series(1, 20) n; \
                    CREATE TABLE calm (id integer PRIMARY KEY, note text); INSERT INTO calm VALUES (1, 'one');";

const TABLES: [&str; 3] = ["calm", "child", "parent"];

/// A run that goes on beside.
struct Following {
    run: Run,
    handle: tokio::task::JoinHandle<Ended>,
}

impl Following {
    fn start(pair: &Pair, epoch: i64, dropped_tables: DroppedTablePolicy, new_tables: NewTablePolicy) -> Self {
        Self::with(pair, epoch, TaskSettings { dropped_tables, new_tables, ..TaskSettings::default() })
    }

    fn with(pair: &Pair, epoch: i64, settings: TaskSettings) -> Self {
        let settings = TaskSettings { idle_seconds: 1, ..settings };
        let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &TABLES, settings);
        let own = run.clone();
        Self { run, handle: tokio::spawn(async move { own.run().await.unwrap() }) }
    }

    async fn stop(self) {
        self.run.stop.cancel();
        assert_eq!(self.handle.await.unwrap(), Ended::Stopped);
    }

    /// The worker is gone, from one moment to the next.
    async fn kill(self) {
        self.handle.abort();
        assert!(self.handle.await.unwrap_err().is_cancelled());
    }

    /// The tables that it shows, those that are parked with their problem's code.
    fn shown(&self) -> Vec<(String, Option<String>)> {
        let tables = self.run.status.progress().tables.into_iter();
        let problem = |state: TableState, problem: Option<wavemark_domain::Problem>| {
            (state == TableState::Parked).then(|| problem.unwrap().code)
        };
        tables.map(|table| (table.table.table, problem(table.state, table.problem))).collect()
    }

    async fn shows(&self, expected: &[(&str, Option<&str>)]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, code)| ((*name).to_owned(), code.map(str::to_owned))).collect();
        let waiting = until(async || self.shown() == expected);
        tokio::select! {
            () = waiting => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(35)) => {
                let events: Vec<String> = self.run.status.events().into_iter().map(|event| event.text).collect();
                panic!("{:?} is shown, told was: {}", self.shown(), events.join("\n"));
            }
        }
    }
}

async fn followed(dropped: DroppedTablePolicy, new: NewTablePolicy) -> (Pair, Following) {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source.batch_execute(FILL).await.unwrap();
    let following = Following::start(&pair, 1, dropped, new);
    until(async || told(&following.run, "table-live").len() == TABLES.len()).await;
    until(async || in_target(&pair, KEYS).await == "child_of_fkey").await;
    (pair, following)
}

async fn in_target(pair: &Pair, sql: &str) -> String {
    let row = pair.mart.query_one(&format!("SELECT coalesce(({sql})::text, '')"), &[]).await;
    row.map_or_else(|error| error.to_string(), |row| row.get(0))
}

async fn becomes(pair: &Pair, sql: &str, expected: &str) {
    until(async || in_target(pair, sql).await == expected).await;
}

const KEYS: &str = "SELECT string_agg(conname, ',') FROM pg_constraint WHERE contype = 'f'";
const PARENT: &str = "SELECT string_agg(id || ' ' || note, ',' ORDER BY id) FROM parent WHERE id < 3 OR id > 18";
const IS_THERE: &str = "SELECT to_regclass('parent')";
const MARKS: &str = "SELECT string_agg(source_table || ' ' || stage, ',' ORDER BY source_table) FROM wavemark.tables";
/// What the last rows before the drop leave, and what follows it.
const LAST: &str = "DELETE FROM child WHERE id = 19; DELETE FROM parent WHERE id = 19; \
                    UPDATE parent SET note = 'last' WHERE id = 2; INSERT INTO parent VALUES (21, 'new')";
const AFTER: &str = "INSERT INTO child VALUES (50, 999); UPDATE calm SET note = 'after'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_stays_with_its_last_rows_where_it_is_to_be_ignored() {
    let (pair, following) = followed(DroppedTablePolicy::Ignore, NewTablePolicy::Ignore).await;
    for step in [LAST, "DROP TABLE parent CASCADE", AFTER] {
        pair.source.batch_execute(step).await.unwrap();
    }
    following.shows(&[("calm", None), ("child", None)]).await;
    assert_eq!(in_target(&pair, PARENT).await, "1 no 1,2 last,20 no 20,21 new");
    assert_eq!(in_target(&pair, MARKS).await, "calm loaded,child loaded,parent superseded");
    // The key goes, as at the source: what it would refuse arrives.
    assert_eq!(in_target(&pair, KEYS).await, "");
    becomes(&pair, "SELECT of FROM child WHERE id = 50", "999").await;
    becomes(&pair, "SELECT note FROM calm", "after").await;
    let events = told(&following.run, "table-ended");
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains("public.parent was dropped at the source"), "{events:?}");
    assert!(events[0].contains("child_of_fkey on public.child"), "{events:?}");
    assert_eq!(told(&following.run, "table-parked"), Vec::<String>::new());
    // One that comes under its name is a new one.
    pair.source.batch_execute("CREATE TABLE parent (id integer PRIMARY KEY, note text)").await.unwrap();
    pair.source.batch_execute("INSERT INTO parent VALUES (7, 'another'); UPDATE calm SET note = 'on'").await.unwrap();
    becomes(&pair, "SELECT note FROM calm", "on").await;
    following.stop().await;
    assert_eq!(in_target(&pair, PARENT).await, "1 no 1,2 last,20 no 20,21 new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_is_dropped_in_the_target_and_one_of_its_name_is_loaded_as_new() {
    let (pair, following) = followed(DroppedTablePolicy::Apply, NewTablePolicy::Load).await;
    pair.source.batch_execute("DROP TABLE parent CASCADE").await.unwrap();
    following.shows(&[("calm", None), ("child", None)]).await;
    assert_eq!(in_target(&pair, IS_THERE).await, "");
    assert_eq!(in_target(&pair, MARKS).await, "calm loaded,child loaded");
    pair.source.batch_execute(AFTER).await.unwrap();
    becomes(&pair, "SELECT of FROM child WHERE id = 50", "999").await;
    // The next of its name has other columns; it comes and goes, and comes again between two looks.
    pair.source
        .batch_execute("CREATE TABLE parent (id text PRIMARY KEY); INSERT INTO parent VALUES ('x')")
        .await
        .unwrap();
    following.shows(&[("calm", None), ("child", None), ("parent", None)]).await;
    until(async || told(&following.run, "table-live").iter().filter(|text| text.contains("parent")).count() == 2).await;
    assert_eq!(in_target(&pair, "SELECT string_agg(id, ',') FROM parent").await, "x");
    pair.source
        .batch_execute(
            "INSERT INTO parent VALUES ('y'); DROP TABLE parent; CREATE TABLE parent (id integer PRIMARY KEY, b text); \
             INSERT INTO parent VALUES (1, 'b')",
        )
        .await
        .unwrap();
    becomes(&pair, "SELECT string_agg(p::text, ',') FROM parent p", "(1,b)").await;
    pair.source.batch_execute("INSERT INTO parent VALUES (2, 'c')").await.unwrap();
    becomes(&pair, "SELECT string_agg(p::text, ',' ORDER BY id) FROM parent p", "(1,b),(2,c)").await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_dropped_while_nobody_followed_gets_its_last_rows_first() {
    for policy in [DroppedTablePolicy::Ignore, DroppedTablePolicy::Apply] {
        let (pair, following) = followed(policy, NewTablePolicy::Ignore).await;
        following.kill().await;
        let again = "CREATE TABLE parent (id integer PRIMARY KEY, note text); INSERT INTO parent VALUES (1, 'another')";
        // A transaction of many rows is applied while it is read.
        let large = "INSERT INTO calm SELECT n, repeat('x', 500) FROM generate_series(100, 40000) n";
        for step in [LAST, "DROP TABLE parent CASCADE", again, large, AFTER] {
            pair.source.batch_execute(step).await.unwrap();
        }
        let following = Following::start(&pair, 2, policy, NewTablePolicy::Ignore);
        until(async || !told(&following.run, "table-ended").is_empty()).await;
        following.shows(&[("calm", None), ("child", None)]).await;
        let (rows, marks) = match policy {
            DroppedTablePolicy::Apply => ("", "calm loaded,child loaded"),
            _ => ("1 no 1,2 last,20 no 20,21 new", "calm loaded,child loaded,parent superseded"),
        };
        if policy == DroppedTablePolicy::Ignore {
            assert_eq!(in_target(&pair, PARENT).await, rows);
        } else {
            assert_eq!(in_target(&pair, IS_THERE).await, rows);
        }
        assert_eq!(in_target(&pair, MARKS).await, marks);
        becomes(&pair, "SELECT of FROM child WHERE id = 50", "999").await;
        becomes(&pair, "SELECT count(*) FROM calm WHERE note = 'after'", "39902").await;
        assert_eq!(told(&following.run, "table-parked"), Vec::<String>::new());
        following.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_goes_while_it_is_looked_at_gets_its_last_rows_first() {
    let (pair, following) = followed(DroppedTablePolicy::Ignore, NewTablePolicy::Ignore).await;
    following.kill().await;
    pair.source.batch_execute(&format!("CREATE INDEX by_note ON parent (note); {LAST}")).await.unwrap();
    // Whoever reads the catalog waits for this to be over.
    pair.source.batch_execute("BEGIN; DROP TABLE parent CASCADE").await.unwrap();
    let following = Following::start(&pair, 2, DroppedTablePolicy::Ignore, NewTablePolicy::Ignore);
    until(async || pair.ask("SELECT (count(*) > 0)::text FROM pg_locks WHERE NOT granted").await == "true").await;
    pair.source.batch_execute("COMMIT").await.unwrap();
    until(async || !told(&following.run, "table-ended").is_empty()).await;
    following.shows(&[("calm", None), ("child", None)]).await;
    assert_eq!(in_target(&pair, PARENT).await, "1 no 1,2 last,20 no 20,21 new");
    assert_eq!(in_target(&pair, MARKS).await, "calm loaded,child loaded,parent superseded");
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_others_need_is_not_dropped_but_parked_with_the_reason() {
    let (pair, following) = followed(DroppedTablePolicy::Apply, NewTablePolicy::Load).await;
    pair.mart.batch_execute("CREATE VIEW report AS SELECT note FROM parent").await.unwrap();
    for step in [LAST, "DROP TABLE parent CASCADE", AFTER] {
        pair.source.batch_execute(step).await.unwrap_or_else(|error| panic!("{step}: {error:?}"));
    }
    following.shows(&[("calm", None), ("child", None), ("parent", Some("refused"))]).await;
    let parked = told(&following.run, "table-parked");
    assert!(parked[0].contains("drop table public.parent") && parked[0].contains("depend"), "{parked:?}");
    becomes(&pair, "SELECT of FROM child WHERE id = 50", "999").await;
    becomes(&pair, "SELECT note FROM calm", "after").await;
    // A worker later it is left alone, also when it could be dropped by then.
    following.kill().await;
    pair.mart.batch_execute("DROP VIEW report").await.unwrap();
    let following = Following::start(&pair, 2, DroppedTablePolicy::Apply, NewTablePolicy::Load);
    pair.source.batch_execute("UPDATE calm SET note = 'later'").await.unwrap();
    becomes(&pair, "SELECT note FROM calm", "later").await;
    assert_eq!(in_target(&pair, IS_THERE).await, "parent");
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_there_before_the_task_is_not_dropped() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(FILL).await.unwrap();
    pair.mart.batch_execute("CREATE TABLE parent (id integer PRIMARY KEY, note text)").await.unwrap();
    let following = Following::start(&pair, 1, DroppedTablePolicy::Apply, NewTablePolicy::Load);
    until(async || told(&following.run, "table-live").len() == TABLES.len()).await;
    pair.source.batch_execute("DROP TABLE parent CASCADE").await.unwrap();
    following.shows(&[("calm", None), ("child", None), ("parent", Some("table-not-dropped"))]).await;
    assert_eq!(in_target(&pair, "SELECT count(*) FROM parent").await, "20");
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_goes_before_it_is_loaded_is_not_in_the_way() {
    let (pair, following) = followed(DroppedTablePolicy::Apply, NewTablePolicy::Load).await;
    pair.source.batch_execute("DROP TABLE parent CASCADE").await.unwrap();
    following.shows(&[("calm", None), ("child", None)]).await;
    // The view waits for whoever is at work.
    let holder = pair::connect(&pair.cluster, "postgres").await;
    holder.batch_execute("BEGIN; CREATE TABLE other ()").await.unwrap();
    pair.source.batch_execute("CREATE TABLE parent (id integer PRIMARY KEY)").await.unwrap();
    following.shows(&[("calm", None), ("child", None), ("parent", None)]).await;
    pair.source.batch_execute("UPDATE calm SET note = 'meanwhile'").await.unwrap();
    becomes(&pair, "SELECT note FROM calm", "meanwhile").await;
    pair.source.batch_execute("DROP TABLE parent").await.unwrap();
    holder.batch_execute("COMMIT").await.unwrap();
    following.shows(&[("calm", None), ("child", None)]).await;
    assert_eq!(in_target(&pair, MARKS).await, "calm loaded,child loaded");
    assert_eq!(told(&following.run, "table-parked"), Vec::<String>::new());
    pair.source.batch_execute("UPDATE calm SET note = 'after'").await.unwrap();
    becomes(&pair, "SELECT note FROM calm", "after").await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_goes_while_its_load_is_interrupted_goes_in_the_target() {
    let (pair, following) = followed(DroppedTablePolicy::Apply, NewTablePolicy::Load).await;
    following.stop().await;
    // As a worker leaves it that dies in the middle of a reload.
    pair.mart
        .batch_execute("UPDATE wavemark.tables SET stage = 'loading' WHERE source_table = 'parent'")
        .await
        .unwrap();
    pair.source.batch_execute("DROP TABLE parent CASCADE; UPDATE calm SET note = 'after'").await.unwrap();
    let following = Following::start(&pair, 2, DroppedTablePolicy::Apply, NewTablePolicy::Load);
    becomes(&pair, MARKS, "calm loaded,child loaded").await;
    following.shows(&[("calm", None), ("child", None)]).await;
    assert_eq!(in_target(&pair, IS_THERE).await, "");
    becomes(&pair, "SELECT note FROM calm", "after").await;
    assert_eq!(told(&following.run, "table-parked"), Vec::<String>::new());
    following.stop().await;
}

/// A task whose parent was changed so that only a reload helps, and was dropped before one began.
async fn changed_and_dropped(dropped_tables: DroppedTablePolicy) -> (Pair, Following) {
    let (pair, following) = followed(dropped_tables, NewTablePolicy::Load).await;
    pair.source
        .batch_execute(
            "ALTER TABLE parent ALTER COLUMN note TYPE bytea USING note::bytea; INSERT INTO parent VALUES (21, '')",
        )
        .await
        .unwrap();
    following.shows(&[("calm", None), ("child", None), ("parent", Some("table-changed"))]).await;
    following.stop().await;
    pair.source.batch_execute("DROP TABLE parent CASCADE; UPDATE calm SET note = 'after'").await.unwrap();
    let changed_tables = ChangedTablePolicy::ReloadTable;
    let following =
        Following::with(&pair, 2, TaskSettings { dropped_tables, changed_tables, ..TaskSettings::default() });
    becomes(&pair, "SELECT note FROM calm", "after").await;
    (pair, following)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_goes_while_it_waits_for_its_reload_goes_in_the_target() {
    let (pair, following) = changed_and_dropped(DroppedTablePolicy::Apply).await;
    following.shows(&[("calm", None), ("child", None)]).await;
    becomes(&pair, MARKS, "calm loaded,child loaded").await;
    assert_eq!(in_target(&pair, IS_THERE).await, "");
    assert_eq!(told(&following.run, "table-ended").len(), 1);
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_goes_while_it_waits_for_its_reload_stays_as_it_was_and_says_so() {
    let why = "SELECT problem ->> 'text' FROM wavemark.tables WHERE source_table = 'parent' AND stage = 'parked'";
    let text = "Table public.parent was changed at the source, and dropped before it was loaded again.";
    for dropped_tables in [DroppedTablePolicy::Ignore, DroppedTablePolicy::ParkTable] {
        let (pair, following) = changed_and_dropped(dropped_tables).await;
        becomes(&pair, why, text).await;
        assert_eq!(in_target(&pair, PARENT).await, "1 no 1,2 no 2,19 no 19,20 no 20");
        // One that comes under its name is loaded in its place.
        pair.source.batch_execute("CREATE TABLE parent (id integer PRIMARY KEY, note text)").await.unwrap();
        pair.source.batch_execute("INSERT INTO parent VALUES (1, 'again')").await.unwrap();
        becomes(&pair, PARENT, "1 again").await;
        following.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_dropped_table_that_somebody_reads() {
    let (pair, following) = followed(DroppedTablePolicy::Apply, NewTablePolicy::Load).await;
    let reader = pair::connect(&pair.cluster, "mart").await;
    reader.batch_execute("BEGIN; SELECT * FROM parent").await.unwrap();
    pair.source.batch_execute("DROP TABLE parent CASCADE").await.unwrap();
    until(async || !told(&following.run, "table-in-use").is_empty()).await;
    pair.source.batch_execute("UPDATE calm SET note = 'meanwhile'").await.unwrap();
    becomes(&pair, "SELECT note FROM calm", "meanwhile").await;
    // Whoever comes next finds it gone once more.
    following.stop().await;
    let following = Following::start(&pair, 2, DroppedTablePolicy::Apply, NewTablePolicy::Load);
    until(async || !told(&following.run, "table-in-use").is_empty()).await;
    reader.batch_execute("COMMIT").await.unwrap();
    becomes(&pair, IS_THERE, "").await;
    following.shows(&[("calm", None), ("child", None)]).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tables_that_go_at_once_end_together() {
    let (pair, following) = followed(DroppedTablePolicy::Apply, NewTablePolicy::Load).await;
    pair.source.batch_execute("DROP TABLE child, parent; UPDATE calm SET note = 'alone'").await.unwrap();
    following.shows(&[("calm", None)]).await;
    assert_eq!(in_target(&pair, MARKS).await, "calm loaded");
    assert_eq!(in_target(&pair, "SELECT concat(to_regclass('child'), to_regclass('parent'))").await, "");
    becomes(&pair, "SELECT note FROM calm", "alone").await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_is_parked_where_nothing_else_is_asked_for() {
    let (pair, following) = followed(DroppedTablePolicy::ParkTable, NewTablePolicy::Load).await;
    for step in [LAST, "DROP TABLE parent CASCADE", AFTER] {
        pair.source.batch_execute(step).await.unwrap();
    }
    following.shows(&[("calm", None), ("child", None), ("parent", Some("table-dropped"))]).await;
    assert_eq!(in_target(&pair, PARENT).await, "1 no 1,2 last,20 no 20,21 new");
    following.stop().await;
}
