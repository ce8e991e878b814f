//! The fence: nothing that an earlier opening began is committed after a later one returned.

use wavemark_connector::target::{Loader, OpenError, Segment, Session, Target};
use wavemark_domain::Fault;

use super::*;

async fn counters(database: &Database) -> [TablePlan; 1] {
    database
        .sql(
            "CREATE SCHEMA shop; CREATE TABLE shop.counters (id integer PRIMARY KEY, n integer); \
              INSERT INTO shop.counters VALUES (1, 0)",
        )
        .await;
    [plan(0, "counters", &[("id!", "integer"), ("n", "integer")])]
}

fn set(n: i32) -> Batch {
    let mut batch = Batch::default();
    update(&mut batch, 0, None, &[V::Int(1), V::Int(n)]);
    batch
}

async fn held(database: &Database, task: &TaskContext) -> i64 {
    match database.target().open(task).await {
        Err(OpenError::Fenced { held, .. }) => held.0,
        Err(OpenError::Problem(problem)) => panic!("{problem}"),
        Ok(_) => panic!("the target was opened"),
    }
}

/// Whether the target refuses a task because it holds its tombstone.
async fn is_deleted(database: &Database, task: &TaskContext) -> bool {
    let opened = database.target().open(task).await;
    matches!(opened, Err(OpenError::Problem(problem)) if problem.code == "task-deleted")
}

#[tokio::test]
async fn a_zombie_with_an_open_transaction_commits_nothing() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let mut zombie = session(&database, &plan).await;
    zombie.apply(&plan, &Segment::whole(&set(1))).await.unwrap();
    zombie.waves.drain().await.unwrap();

    let (kept, mut next, _) = database.target().open_session(&task(2, false)).await.unwrap();
    assert_eq!(kept.bookmark, None);
    next.attach(&plan).await.unwrap();
    wave(&mut next, &plan, &set(2), 1).await.unwrap();

    let problem = commit(&mut zombie, 1).await.unwrap_err();
    assert_eq!(problem.fault, Fault::Transient, "{problem}");
    assert_eq!(database.rows("SELECT n FROM shop.counters").await, "2");
    assert_eq!(held(&database, &task(1, false)).await, 2);
}

#[tokio::test]
async fn a_zombie_that_connects_again_is_fenced() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let mut zombie = session(&database, &plan).await;
    database.target().open(&task(2, false)).await.unwrap();
    // A connection that the fence doesn't know, with the old grant.
    zombie.waves.client = std::sync::Arc::new(admin(&database.cluster, &database.name).await);
    let (grant, version) = (zombie.waves.grant, zombie.waves.version);
    let mut waves = super::super::wave::Waves::new(zombie.waves.client.clone(), version, grant, true);
    waves.attach(&plan);
    let batch = set(1);
    let problem = match waves.apply(&Segment::whole(&batch)).await {
        Err(problem) => problem,
        Ok(()) => waves.drain().await.unwrap_err(),
    };
    assert_eq!(problem.fault, Fault::Fenced, "{problem}");
    assert_eq!(problem.server_code.as_deref(), Some("WM001"));
    assert_eq!(database.rows("SELECT n FROM shop.counters").await, "0");
}

#[tokio::test]
async fn a_zombie_that_connects_again_changes_nothing_beside_the_waves_either() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let mut zombie = session(&database, &plan).await;
    database.sql("TRUNCATE shop.counters").await;
    zombie.begin_table(&plan[0], wavemark_domain::task::Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();
    database.target().open(&task(2, false)).await.unwrap();
    zombie.control.client = admin(&database.cluster, &database.name).await;
    let (grant, at, reason) = (zombie.waves.grant, position(9), Problem::transient("parked", "for a test"));
    let mut client = admin(&database.cluster, &database.name).await;
    let refused = [
        super::super::finish::table(&mut client, &grant, &plan[0], true).await,
        super::super::finish::complete(&mut client, &grant, &plan[0]).await,
        zombie.park_table(&plan[0], &at, &reason).await,
        zombie.adopt_table(&plan[0], &mark(&plan[0], 1)).await,
        zombie.leave_behind(plan[0].name(), &at, &reason).await,
        zombie.raise_counters(&plan, &[]).await,
    ];
    for (number, outcome) in refused.into_iter().enumerate() {
        assert_eq!(outcome.unwrap_err().fault, Fault::Fenced, "{number}");
    }
    let (kept, ..) = database.target().open_session(&task(3, false)).await.unwrap();
    assert_eq!((kept.tables.len(), &kept.tables[0].stage), (1, &Stage::Loading));
}

#[tokio::test]
async fn a_deletion_ends_a_zombie_with_an_open_transaction() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let mut zombie = session(&database, &plan).await;
    zombie.apply(&plan, &Segment::whole(&set(1))).await.unwrap();
    zombie.waves.drain().await.unwrap();
    let mut client = admin(&database.cluster, &database.name).await;
    super::super::fence::bury(&mut client, &task(2, false)).await.unwrap();
    commit(&mut zombie, 1).await.unwrap_err();
    assert_eq!(database.rows("SELECT n FROM shop.counters").await, "0");
    assert!(is_deleted(&database, &task(3, false)).await);
}

#[tokio::test]
async fn a_row_that_a_stranger_holds_is_waited_for_and_told() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    drop(session(&database, &plan).await);
    let stranger = admin(&database.cluster, &database.name).await;
    stranger.batch_execute("BEGIN; SELECT FROM wavemark.fence FOR UPDATE").await.unwrap();
    let mut client = admin(&database.cluster, &database.name).await;
    let (next, target) = (task(2, false), database.target());
    let (opened, buried) = tokio::join!(target.open(&next), super::super::fence::bury(&mut client, &next));
    let Err(OpenError::Problem(opened)) = opened else { panic!("it was opened, or fenced") };
    for problem in [opened, buried.unwrap_err()] {
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Transient, "predecessor-stuck"), "{problem}");
    }
    // Whoever waits finds the row free once the stranger is gone.
    let (opened, ()) = tokio::join!(target.open(&next), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stranger.batch_execute("ROLLBACK").await.unwrap();
    });
    assert!(opened.is_ok());
}

/// A COMMIT whose reply never came: the connection is dropped while the server still works on it.
#[tokio::test]
async fn a_commit_under_way_lands_before_a_second_opening_under_the_same_epoch_or_not_at_all() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    // The commit waits in a deferred trigger, as it would for a slow disk or a standby.
    database
        .sql(
            "CREATE FUNCTION shop.slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_catalog.pg_sleep(3); RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON shop.counters DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION shop.slow(); ALTER TABLE shop.counters ENABLE ALWAYS TRIGGER slow",
        )
        .await;
    let mut first = session(&database, &plan).await;
    first.apply(&plan, &Segment::whole(&set(1))).await.unwrap();
    let end = tokio::time::timeout(Duration::from_millis(500), commit(&mut first, 1)).await;
    assert!(end.is_err(), "the commit must still be under way");
    drop(first);

    let (kept, ..) = database.target().open_session(&task(1, false)).await.unwrap();
    let then = database.rows("SELECT n FROM shop.counters").await;
    assert_eq!(kept.bookmark.is_some(), then == "1");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(database.rows("SELECT n FROM shop.counters").await, then, "a commit landed after the opening");
}

#[tokio::test]
async fn a_session_under_the_same_epoch_is_ended_although_it_is_idle() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let mut first = session(&database, &plan).await;
    let (.., loaders) = database.target().open_session(&task(1, false)).await.unwrap();
    let problem = wave(&mut first, &plan, &set(1), 1).await.unwrap_err();
    assert_eq!(problem.fault, Fault::Transient, "{problem}");
    assert_eq!(database.rows("SELECT n FROM shop.counters").await, "0");
    drop(loaders);
}

/// Gives one row, then nothing for a long time.
struct Stuck(bool);
#[async_trait]
impl RowReader for Stuck {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        if std::mem::replace(&mut self.0, true) {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        let mut batch = Batch::default();
        insert(&mut batch, 0, &[V::Int(1), V::Int(1)]);
        Ok(Some(Block::Rows(batch)))
    }
}
#[tokio::test]
async fn a_loader_in_the_middle_of_a_chunk_is_ended() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    database.sql("TRUNCATE shop.counters").await;
    let (_, mut first, mut loaders) = database.target().open_session(&task(1, true)).await.unwrap();
    first.attach(&plan).await.unwrap();
    first.begin_table(&plan[0], wavemark_domain::task::Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();

    let table = plan[0].clone();
    let mut loader = loaders.remove(0);
    let load = tokio::spawn(async move { loader.load(&table, 0, &mut Stuck(false), &|_| {}).await });
    tokio::time::sleep(Duration::from_millis(300)).await;

    let (kept, mut next, _) = database.target().open_session(&task(2, false)).await.unwrap();
    assert_eq!(kept.tables.len(), 1);
    assert_eq!(kept.tables[0].chunks[0].done, None);
    next.attach(&plan).await.unwrap();
    assert_eq!(database.rows("SELECT count(*) FROM shop.counters").await, "0");
    load.abort();
}

#[tokio::test]
async fn only_a_first_grant_makes_the_row() {
    let database = Database::new().await;
    match database.target().open(&task(3, false)).await {
        Err(OpenError::Problem(problem)) => assert_eq!(problem.code, "target-forgotten"),
        _ => panic!("a task without a row was opened by a later grant"),
    }
    database.target().open(&task(3, true)).await.unwrap();
    database.target().open(&task(4, false)).await.unwrap();
}

#[tokio::test]
async fn a_tombstone_is_never_opened_in_the_same_generation() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let mut late = session(&database, &plan).await;
    late.begin_table(&plan[0], wavemark_domain::task::Preparation::Truncate, &mark(&plan[0], 1)).await.unwrap();
    wave(&mut late, &plan, &Batch::default(), 1).await.unwrap();
    let kept = "SELECT (SELECT count(*) FROM wavemark.progress) AS a, (SELECT count(*) FROM wavemark.tables) AS b, \
        (SELECT count(*) FROM wavemark.chunks) AS c, (SELECT count(*) FROM wavemark.fence WHERE tombstone) AS d";
    assert_eq!(database.rows(kept).await, "1|1|1|0");
    database.target().clean_up(&task(2, false)).await.unwrap();
    database.target().clean_up(&task(2, false)).await.unwrap();
    assert!(is_deleted(&database, &task(3, true)).await);
    assert_eq!(wave(&mut late, &plan, &set(1), 2).await.unwrap_err().fault, Fault::Transient);
    assert_eq!(database.rows(kept).await, "0|0|0|1");

    let reload = TaskContext { generation: Generation(2), ..task(3, true) };
    let (kept, ..) = database.target().open_session(&reload).await.unwrap();
    assert_eq!(kept, wavemark_connector::target::Kept::default());
    assert_eq!(held(&database, &task(4, false)).await, 3);
}

#[tokio::test]
async fn a_first_grant_that_comes_after_the_deletion_finds_the_tombstone() {
    let database = Database::new().await;
    database.target().clean_up(&task(2, false)).await.unwrap();
    assert!(is_deleted(&database, &task(1, true)).await);
}

#[tokio::test]
async fn a_new_generation_begins_with_nothing() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let mut first = session(&database, &plan).await;
    wave(&mut first, &plan, &set(1), 1).await.unwrap();
    let (kept, ..) = database.target().open_session(&task(2, false)).await.unwrap();
    assert_eq!(kept.bookmark.map(|bookmark| (bookmark.wave.0, bookmark.position)), Some((1, position(1))));
    let reload = TaskContext { generation: Generation(2), ..task(3, true) };
    let (kept, ..) = database.target().open_session(&reload).await.unwrap();
    assert_eq!(kept.bookmark, None);
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_words() {
    let database = Database::new().await;
    database.target().open(&task(1, true)).await.unwrap();
    database.sql("UPDATE wavemark.version SET version = 99").await;
    match database.target().open(&task(2, false)).await {
        Err(OpenError::Problem(problem)) => {
            assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "schema-too-new"));
            assert!(problem.text.contains("99"), "{problem}");
        }
        _ => panic!("a newer schema was opened"),
    }
}

#[tokio::test]
async fn many_openings_at_once_leave_one_that_can_write() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    database.target().open(&task(1, true)).await.unwrap();
    let openings = (2..8).map(|epoch| {
        let target = database.target();
        let plan = plan.clone();
        async move {
            let (_, mut session, _) = target.open_session(&task(epoch, false)).await.ok()?;
            session.attach(&plan).await.unwrap();
            wave(&mut session, &plan, &set(i32::try_from(epoch).unwrap()), 1).await.ok()?;
            Some(epoch)
        }
    });
    let written: Vec<i64> = futures_util::future::join_all(openings).await.into_iter().flatten().collect();
    // The first wave is there once, whoever wrote it.
    assert!(written.len() <= 1, "{written:?}");
    let fence = database.rows("SELECT epoch FROM wavemark.fence").await;
    assert!(fence.parse::<i64>().unwrap() >= 2);
}

#[tokio::test]
async fn the_server_looks_after_clients_that_vanish() {
    let database = Database::new().await;
    let purpose = crate::client::Purpose {
        name: "orders to mart",
        part: "waves",
        lock_timeout: Duration::from_secs(1),
        writes: true,
    };
    let session = crate::client::connect(&database.settings(), &purpose).await.unwrap();
    let sql = "SELECT concat_ws(' ', current_setting('tcp_keepalives_idle'), \
        current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count'))";
    let row = session.client.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "10 5 3");
}

/// The schema as its first version made it, with a task in it.
async fn first_version(database: &Database) {
    database.sql(super::super::schema::FIRST).await;
    database
        .sql(
            "INSERT INTO wavemark.fence (task, name, generation, epoch) \
             VALUES ('00000000-0000-0000-0000-000000000007', 'orders to mart', 1, 1); \
             INSERT INTO wavemark.tables (task, source_schema, source_table, target_schema, target_table, stage, began, \
             position, storage, made) VALUES ('00000000-0000-0000-0000-000000000007', 'shop', 'counters', 'shop', \
             'counters', 'loaded', '\\x01', '\\x01', 's', false); \
             INSERT INTO wavemark.progress (task, wave, position, position_text, epoch) \
             VALUES ('00000000-0000-0000-0000-000000000007', 4, '\\x05', '5', 1)",
        )
        .await;
}

#[tokio::test]
async fn an_older_schema_is_brought_forward_by_one_of_two_that_race_and_nothing_is_lost() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    first_version(&database).await;
    assert_eq!(database.rows("SELECT version FROM wavemark.version").await, "1");
    let found = database.target().kept_tasks().await.unwrap();
    assert_eq!((found[0].0.kind, &found[0].0.tables[0].columns), (None, &None), "the first version notes neither");
    // A program of the first version has a wave open: the change waits for it, and the wave lands.
    let old = admin(&database.cluster, &database.name).await;
    let wave_of_old = "BEGIN; SELECT wavemark.hold('00000000-0000-0000-0000-000000000007', 1, 1); \
        UPDATE shop.counters SET n = 5";
    old.batch_execute(wave_of_old).await.unwrap();
    let open = |epoch: i64| {
        let target = database.target();
        async move { target.open_session(&task(epoch, false)).await.map(|(kept, ..)| kept) }
    };
    let ends = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Whoever waits for the fence shuts out who comes after, so another table is asked.
        assert_eq!(database.rows("SELECT version FROM wavemark.version").await, "1");
        old.batch_execute("COMMIT").await.unwrap();
    };
    let (two, three, ()) = tokio::join!(open(2), open(3), ends);
    let kept = two.or(three).unwrap();
    assert_eq!((kept.bookmark.unwrap().wave, kept.tables.len()), (WaveNumber(4), 1));
    assert_eq!(database.rows("SELECT version FROM wavemark.version").await, "2");
    assert_eq!(database.rows("SELECT count(*) FROM wavemark.tables WHERE layout IS NULL").await, "1");
    assert_eq!(database.rows("SELECT n FROM shop.counters").await, "5");
    assert_eq!(database.rows("SELECT kind FROM wavemark.fence").await, "full-load-and-cdc");

    let (_, mut session, _) = database.target().open_session(&task(4, false)).await.unwrap();
    session.attach(&plan).await.unwrap();
    wave(&mut session, &plan, &set(6), 5).await.unwrap();
    assert_eq!(database.rows("SELECT n FROM shop.counters").await, "6");
}

/// A server process that hears nothing: its host's storage hangs, say.
#[tokio::test]
async fn a_predecessor_that_does_not_end_is_told_and_nobody_else_gets_in() {
    let database = Database::new().await;
    let plan = counters(&database).await;
    let first = session(&database, &plan).await;
    let pid = first.writer.pid.to_string();
    let signal =
        |name: &str| assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    let opened = tokio::time::timeout(Duration::from_secs(30), database.target().open(&task(2, false))).await;
    signal("-CONT");
    match opened.expect("it is not waited for without end") {
        Err(OpenError::Problem(problem)) => {
            assert_eq!((problem.fault, problem.code.as_str()), (Fault::Transient, "predecessor-stuck"));
        }
        _ => panic!("the target was opened, or refused for another reason"),
    }
    database.target().open(&task(2, false)).await.unwrap();
}

#[tokio::test]
async fn a_later_generation_that_was_granted_before_is_not_begun_over_an_earlier_one() {
    let database = Database::new().await;
    database.target().open(&task(1, true)).await.unwrap();
    let elsewhere = TaskContext { generation: Generation(2), ..task(3, false) };
    match database.target().open(&elsewhere).await {
        Err(OpenError::Problem(problem)) => assert_eq!(problem.code, "target-forgotten"),
        _ => panic!("a generation that this target never saw was opened as if it had been"),
    }
    database.target().open(&TaskContext { first_grant: true, ..elsewhere }).await.unwrap();
}
