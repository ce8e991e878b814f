//! Leases against a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a failure in a helper is the failure of its test")]

mod support;

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;
use wavemark_domain::ids::TokenId;
use wavemark_domain::progress::{Drained, Phase, TableProgress, TaskProgress};
use wavemark_domain::state::{TaskEvent, TaskStatus};
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{EndpointId, Epoch, Problem, TableName, TableWish, TaskId, WorkerId};
use wavemark_store::endpoints::{self, EndpointRole};
use wavemark_store::leases::{self, Granted};
use wavemark_store::reports::{self, Answer, Asked, Reported, Stand};
use wavemark_store::tasks::{self, Config};
use wavemark_store::{orders, tokens, workers};

fn engines() -> Vec<String> {
    vec!["postgresql".to_owned()]
}

async fn worker(connection: &mut PgConnection, name: &str) -> WorkerId {
    let (id, token) = (WorkerId(Uuid::now_v7()), TokenId(Uuid::now_v7()));
    tokens::create_worker(connection, token, name, name.as_bytes()).await.unwrap();
    let introduction = workers::Introduction { name, version: "1", places: 4, engines: &engines() };
    workers::register(connection, id, token, &introduction).await.unwrap();
    id
}

async fn task(connection: &mut PgConnection, name: &str) -> TaskId {
    let ends = [EndpointId(Uuid::now_v7()), EndpointId(Uuid::now_v7())];
    for (at, end) in ends.iter().enumerate() {
        let name = format!("{name}-{at}");
        endpoints::create(connection, *end, &name, "postgresql", EndpointRole::Both, &json!({})).await.unwrap();
    }
    let config = Config {
        name: name.to_owned(),
        kind: TaskKind::FullLoadAndCdc,
        source: ends[0],
        target: ends[1],
        mappings: json!({"rules": []}),
        settings: TaskSettings::default(),
    };
    let id = TaskId(Uuid::now_v7());
    tasks::create(connection, id, &config, "test").await.unwrap();
    id
}

async fn event(connection: &mut PgConnection, id: TaskId, event: TaskEvent) -> TaskStatus {
    let mut task = tasks::lock(connection, id).await.unwrap().unwrap();
    tasks::transition(connection, &mut task, event, None).await.unwrap().unwrap()
}

async fn started(pool: &PgPool, name: &str) -> TaskId {
    let mut transaction = pool.begin().await.unwrap();
    let id = task(&mut transaction, name).await;
    assert_eq!(event(&mut transaction, id, TaskEvent::StartAsked).await, TaskStatus::Starting);
    transaction.commit().await.unwrap();
    id
}

async fn claim(pool: &PgPool, worker: WorkerId) -> Vec<Granted> {
    let mut transaction = pool.begin().await.unwrap();
    let granted = leases::claim(&mut transaction, worker, &engines(), 4, long_ago()).await.unwrap();
    transaction.commit().await.unwrap();
    granted
}

/// The test cluster has just started, which puts off the lapse of leases; this takes the wait away.
fn long_ago() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH
}

async fn let_the_lease_lapse(pool: &PgPool, task: TaskId) {
    sqlx::query("update leases set expires_at = clock_timestamp() - interval '1 second' where task_id = $1")
        .bind(task.0)
        .execute(pool)
        .await
        .unwrap();
    // Postgres itself counts as unreachable before its start.
    sqlx::query(
        "select pg_sleep(greatest(0, 10.05 - extract(epoch from clock_timestamp() - pg_postmaster_start_time())))",
    )
    .execute(pool)
    .await
    .unwrap();
}

async fn report(pool: &PgPool, worker: WorkerId, task: TaskId, epoch: Epoch, stand: Stand) -> Answer {
    let progress = TaskProgress { phase: Phase::Following, ..TaskProgress::default() };
    report_with(pool, worker, task, epoch, stand, &progress).await
}

async fn report_with(
    pool: &PgPool,
    worker: WorkerId,
    task: TaskId,
    epoch: Epoch,
    stand: Stand,
    progress: &TaskProgress,
) -> Answer {
    let mut transaction = pool.begin().await.unwrap();
    let reported = Reported { task, epoch, stand, progress, events: &[], orders_done: &[], compares: &[] };
    let mut answers = reports::take(&mut transaction, worker, &[reported]).await.unwrap();
    transaction.commit().await.unwrap();
    answers.remove(0)
}

async fn status(pool: &PgPool, task: TaskId) -> TaskStatus {
    let mut connection = pool.acquire().await.unwrap();
    tasks::get(&mut connection, task).await.unwrap().unwrap().status
}

/// What one report says of several tasks, as it stands in the metadata then.
#[tokio::test]
async fn a_report_of_many_tasks_tells_each_apart() {
    let pool = support::metadata().await;
    let (one, other) = {
        let mut connection = pool.acquire().await.unwrap();
        (worker(&mut connection, "one").await, worker(&mut connection, "other").await)
    };
    let mut ids = Vec::new();
    for name in ["first", "second", "third"] {
        ids.push(started(&pool, name).await);
    }
    assert_eq!(claim(&pool, one).await.len(), 3);
    let gone = started(&pool, "fourth").await;
    assert_eq!(claim(&pool, other).await.len(), 1);
    let table = |name: &&str| -> TableProgress {
        serde_json::from_value(json!({
            "table": {"schema": "shop", "table": name}, "target": {"schema": "mart", "table": name}, "state": "live",
            "rows_loaded": 0, "bytes_loaded": 0, "chunks": 0, "chunks_done": 0, "chunks_read": 0, "rows_refetched": 0,
            "inserts": 0, "updates": 0, "deletes": 0, "truncates": 0, "exceptions": 0,
        }))
        .unwrap()
    };
    let progress = |changes_read, tables: &[&str]| TaskProgress {
        phase: Phase::Following,
        changes_read,
        tables: tables.iter().map(table).collect(),
        ..TaskProgress::default()
    };
    let said = [progress(1, &["a", "b"]), progress(2, &["a"]), progress(3, &[]), progress(4, &["a"])];
    let report = |task: TaskId, epoch: i64, stand: Stand, at: usize| Reported {
        task,
        epoch: Epoch(epoch),
        stand,
        progress: &said[at],
        events: &[],
        orders_done: &[],
        compares: &[],
    };
    // The third is reported by a grant before, too; the fourth is another's, and the fifth nobody knows.
    let reports = [
        report(ids[0], 1, Stand::Running, 0),
        report(ids[1], 1, Stand::Ended, 1),
        report(ids[2], 0, Stand::Ended, 3),
        report(ids[2], 1, Stand::Running, 2),
        report(gone, 1, Stand::Ended, 3),
        report(TaskId(Uuid::from_u128(7)), 1, Stand::Running, 3),
    ];
    let mut transaction = pool.begin().await.unwrap();
    let answers = reports::take(&mut transaction, one, &reports).await.unwrap();
    transaction.commit().await.unwrap();
    let goes_on = Answer::Continue(Asked::default());
    let abandons = || Answer::Abandon;
    assert_eq!(answers, [goes_on.clone(), goes_on.clone(), abandons(), goes_on, abandons(), abandons()]);
    let rows = |sql: &'static str| {
        let pool = pool.clone();
        async move { sqlx::query_scalar::<_, String>(sql).fetch_all(&pool).await.unwrap() }
    };
    let of_tasks = "select name || ' ' || status || ' ' || coalesce(progress ->> 'changes_read', '-') \
        || coalesce(' until ' || round(extract(epoch from l.expires_at - l.renewed_at))::text, '') \
        from tasks t left join leases l on l.task_id = t.id order by name";
    let expected =
        ["first running 1 until 10", "fourth starting - until 10", "second stopped 2", "third running 3 until 10"];
    assert_eq!(rows(of_tasks).await, expected);
    let of_tables = "select name || ' ' || source_table || ' ' || target_schema from task_tables \
        join tasks on id = task_id order by 1";
    assert_eq!(rows(of_tables).await, ["first a mart", "first b mart", "second a mart"]);
    let of_samples = "select name || ' ' || changes_read from samples join tasks on id = task_id order by 1";
    assert_eq!(rows(of_samples).await, ["first 1", "second 2", "third 3"]);

    // A table that a task no longer has goes; those of a task that says nothing of tables stay, and so do another's.
    let said = [progress(5, &["b"]), progress(6, &[])];
    let report = |task: TaskId, at: usize| Reported {
        task,
        epoch: Epoch(1),
        stand: Stand::Running,
        progress: &said[at],
        events: &[],
        orders_done: &[],
        compares: &[],
    };
    let mut transaction = pool.begin().await.unwrap();
    reports::take(&mut transaction, one, &[report(ids[0], 0), report(ids[2], 1)]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(rows(of_tables).await, ["first b mart", "second a mart"]);
    assert_eq!(rows(of_samples).await, ["first 1", "second 2", "third 3"]);
}

#[tokio::test]
async fn an_order_is_repeated_until_a_worker_has_done_it() {
    let pool = support::metadata().await;
    let (worker, task) = (worker(&mut pool.acquire().await.unwrap(), "one").await, started(&pool, "orders").await);
    assert_eq!(claim(&pool, worker).await.len(), 1);
    let mut connection = pool.acquire().await.unwrap();
    let tables = [TableName::new("shop", "b"), TableName::new("shop", "a")];
    for _ in 0..2 {
        orders::give(&mut connection, task, &tables, TableWish::Reload, "test").await.unwrap();
    }
    let Answer::Continue(Asked { orders: given, .. }) = report(&pool, worker, task, Epoch(1), Stand::Running).await
    else {
        panic!("stopped")
    };
    assert_eq!(given.iter().map(|order| &order.table).collect::<Vec<_>>(), [&tables[0], &tables[1]]);
    let (progress, done) = (TaskProgress::default(), [given[0].number]);
    let reported = Reported {
        task,
        epoch: Epoch(1),
        stand: Stand::Running,
        progress: &progress,
        events: &[],
        orders_done: &done,
        compares: &[],
    };
    let answers = reports::take(&mut connection, worker, &[reported]).await.unwrap();
    assert_eq!(answers, [Answer::Continue(Asked { orders: vec![given[1].clone()], ..Asked::default() })]);
    // Everything is loaded again: nothing is left to ask.
    let mut locked = tasks::lock(&mut connection, task).await.unwrap().unwrap();
    tasks::begin_generation(&mut connection, &mut locked).await.unwrap();
    assert_eq!(orders::open(&mut connection, task).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_asked_of_a_table_last_counts_whatever_is_open_before_it() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let task = started(&pool, "asked").await;
    let table = [TableName::new("shop", "a")];
    let asked = [TableWish::Reload, TableWish::Park, TableWish::Park, TableWish::Reload];
    for wish in asked {
        orders::give(&mut connection, task, &table, wish, "test").await.unwrap();
    }
    let open = orders::open(&mut connection, task).await.unwrap();
    let wishes: Vec<TableWish> = open.iter().map(|order| order.wish).collect();
    assert_eq!(wishes, [TableWish::Reload, TableWish::Park, TableWish::Reload]);
}

#[tokio::test]
async fn a_drain_is_asked_for_until_the_progress_shows_it() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let (worker, task) = (worker(&mut connection, "one").await, started(&pool, "drained").await);
    assert_eq!(claim(&pool, worker).await.len(), 1);
    let locked = tasks::lock(&mut connection, task).await.unwrap().unwrap();
    assert_eq!(tasks::ask_drain(&mut connection, &locked).await.unwrap(), 1);
    for _ in 0..2 {
        let answer = report(&pool, worker, task, Epoch(1), Stand::Running).await;
        assert_eq!(answer, Answer::Continue(Asked { drain: Some(1), ..Asked::default() }));
    }
    let drained = Drained { number: 1, position: "0/1".to_owned(), behind: 0, written_since: false };
    let progress = TaskProgress { phase: Phase::Following, drained: Some(drained), ..TaskProgress::default() };
    let answer = report_with(&pool, worker, task, Epoch(1), Stand::Running, &progress).await;
    assert_eq!(answer, Answer::Continue(Asked::default()));
    // Another worker has nothing to show, and is not asked again.
    assert_eq!(report(&pool, worker, task, Epoch(1), Stand::Running).await, Answer::Continue(Asked::default()));
    assert!(!tasks::get(&mut connection, task).await.unwrap().unwrap().draining);
}

#[tokio::test]
async fn a_leased_task_is_not_leased_again() {
    let pool = support::metadata().await;
    let task = started(&pool, "one").await;
    let mut connection = pool.acquire().await.unwrap();
    let (first, second) = (worker(&mut connection, "first").await, worker(&mut connection, "second").await);
    let granted = claim(&pool, first).await;
    assert_eq!(granted.len(), 1);
    assert_eq!((granted[0].task, granted[0].epoch, granted[0].first_grant), (task, Epoch(1), true));
    assert_eq!(claim(&pool, second).await, []);
    assert_eq!(claim(&pool, first).await, []);
}

#[tokio::test]
async fn many_workers_that_claim_at_once_get_each_task_once() {
    let pool = support::metadata().await;
    for number in 0..20 {
        started(&pool, &format!("task{number:02}")).await;
    }
    let mut claims = tokio::task::JoinSet::new();
    for number in 0..8 {
        let mut connection = pool.acquire().await.unwrap();
        let id = worker(&mut connection, &format!("worker{number}")).await;
        drop(connection);
        let pool = pool.clone();
        claims.spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..10 {
                mine.extend(claim(&pool, id).await);
            }
            mine
        });
    }
    let granted = claims.join_all().await.concat();
    let mut ids: Vec<TaskId> = granted.iter().map(|granted| granted.task).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((granted.len(), ids.len()), (20, 20));
    assert!(granted.iter().all(|granted| granted.epoch == Epoch(1)));
}

#[tokio::test]
async fn a_lapsed_lease_goes_to_another_under_a_higher_epoch_and_the_first_must_abandon() {
    let pool = support::metadata().await;
    let task = started(&pool, "one").await;
    let mut connection = pool.acquire().await.unwrap();
    let (first, second) = (worker(&mut connection, "first").await, worker(&mut connection, "second").await);
    claim(&pool, first).await;
    assert_eq!(report(&pool, first, task, Epoch(1), Stand::Running).await, Answer::Continue(Asked::default()));
    assert_eq!(status(&pool, task).await, TaskStatus::Running);
    let_the_lease_lapse(&pool, task).await;
    let granted = claim(&pool, second).await;
    assert_eq!((granted[0].epoch, granted[0].first_grant, granted[0].status), (Epoch(2), false, TaskStatus::Starting));
    assert_eq!(report(&pool, first, task, Epoch(1), Stand::Running).await, Answer::Abandon);
    assert_eq!(report(&pool, first, task, Epoch(2), Stand::Running).await, Answer::Abandon);
    assert_eq!(report(&pool, second, task, Epoch(2), Stand::Running).await, Answer::Continue(Asked::default()));
}

#[tokio::test]
async fn a_worker_that_went_on_while_it_could_not_report_keeps_its_lease() {
    let pool = support::metadata().await;
    let task = started(&pool, "one").await;
    let mut connection = pool.acquire().await.unwrap();
    let first = worker(&mut connection, "first").await;
    claim(&pool, first).await;
    report(&pool, first, task, Epoch(1), Stand::Running).await;
    let_the_lease_lapse(&pool, task).await;
    assert_eq!(leases::lapse(&mut connection, long_ago()).await.unwrap(), 1);
    assert_eq!(status(&pool, task).await, TaskStatus::Starting);
    assert_eq!(report(&pool, first, task, Epoch(1), Stand::Running).await, Answer::Continue(Asked::default()));
    assert_eq!(status(&pool, task).await, TaskStatus::Running);
}

#[tokio::test]
async fn after_the_server_was_away_holders_get_a_leases_time_to_report_first() {
    let pool = support::metadata().await;
    let task = started(&pool, "one").await;
    let mut connection = pool.acquire().await.unwrap();
    let (first, second) = (worker(&mut connection, "first").await, worker(&mut connection, "second").await);
    claim(&pool, first).await;
    let_the_lease_lapse(&pool, task).await;
    let now = wavemark_store::sessions::now(&mut connection).await.unwrap();
    let granted = leases::claim(&mut connection, second, &engines(), 4, now).await.unwrap();
    assert_eq!(granted, []);
    let earlier = now - time::Duration::seconds(11);
    let granted = leases::claim(&mut connection, second, &engines(), 4, earlier).await.unwrap();
    assert_eq!(granted.len(), 1);
}

#[tokio::test]
async fn a_fence_above_the_metadata_is_granted_above() {
    let pool = support::metadata().await;
    let task = started(&pool, "restored").await;
    let mut connection = pool.acquire().await.unwrap();
    let first = worker(&mut connection, "first").await;
    claim(&pool, first).await;
    assert_eq!(
        report(&pool, first, task, Epoch(1), Stand::Fenced(Epoch(41), None)).await,
        Answer::Continue(Asked::default())
    );
    assert_eq!(claim(&pool, first).await, [], "not at once: two installations must not chase each other");
    sqlx::query("update tasks set not_before = null").execute(&pool).await.unwrap();
    assert_eq!(claim(&pool, first).await[0].epoch, Epoch(42));
}

#[tokio::test]
async fn a_grant_is_a_first_one_until_a_worker_says_that_it_opened_the_target() {
    let pool = support::metadata().await;
    let task = started(&pool, "one").await;
    let mut connection = pool.acquire().await.unwrap();
    let first = worker(&mut connection, "first").await;
    assert!(claim(&pool, first).await[0].first_grant);
    let preparing = TaskProgress::default();
    report_with(&pool, first, task, Epoch(1), Stand::Released, &preparing).await;
    assert!(claim(&pool, first).await[0].first_grant);
    report(&pool, first, task, Epoch(2), Stand::Released).await;
    assert!(!claim(&pool, first).await[0].first_grant);
}

#[tokio::test]
async fn a_stop_is_answered_to_a_live_worker_and_leased_to_another_when_it_lapsed() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let (first, second) = (worker(&mut connection, "first").await, worker(&mut connection, "second").await);
    let task = started(&pool, "one").await;
    claim(&pool, first).await;
    report(&pool, first, task, Epoch(1), Stand::Running).await;
    assert_eq!(event(&mut connection, task, TaskEvent::StopAsked).await, TaskStatus::Stopping);
    assert_eq!(report(&pool, first, task, Epoch(1), Stand::Running).await, Answer::Stop);
    assert_eq!(claim(&pool, second).await, []);
    let_the_lease_lapse(&pool, task).await;
    let granted = claim(&pool, second).await;
    assert_eq!((granted[0].epoch, granted[0].status), (Epoch(2), TaskStatus::Stopping));
    assert_eq!(report(&pool, second, task, Epoch(2), Stand::Ended).await, Answer::Continue(Asked::default()));
    assert_eq!(status(&pool, task).await, TaskStatus::Stopped);
}

#[tokio::test]
async fn a_failed_task_keeps_its_problem_until_it_is_started_again() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let first = worker(&mut connection, "first").await;
    let task = started(&pool, "one").await;
    claim(&pool, first).await;
    let problem = Problem::new(wavemark_domain::Fault::Settings, "wal-level", "wal_level is replica.");
    report(&pool, first, task, Epoch(1), Stand::Failed(problem.clone())).await;
    let failed = tasks::get(&mut connection, task).await.unwrap().unwrap();
    assert_eq!((failed.status, failed.problem), (TaskStatus::Failed, Some(problem)));
    assert_eq!(claim(&pool, first).await, []);
    event(&mut connection, task, TaskEvent::StartAsked).await;
    assert_eq!(tasks::get(&mut connection, task).await.unwrap().unwrap().problem, None);
    assert_eq!(claim(&pool, first).await[0].epoch, Epoch(2));
}

#[tokio::test]
async fn a_worker_without_the_connector_is_not_given_the_task() {
    let pool = support::metadata().await;
    started(&pool, "one").await;
    let mut connection = pool.acquire().await.unwrap();
    let first = worker(&mut connection, "first").await;
    let granted = leases::claim(&mut connection, first, &["mysql".to_owned()], 4, long_ago()).await.unwrap();
    assert_eq!(granted, []);
}

#[tokio::test]
async fn clean_up_ends_with_the_task_gone_and_what_is_left_behind_is_kept() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let first = worker(&mut connection, "first").await;
    let task = started(&pool, "one").await;
    claim(&pool, first).await;
    report(&pool, first, task, Epoch(1), Stand::Ended).await;
    event(&mut connection, task, TaskEvent::DeleteAsked).await;
    assert_eq!(claim(&pool, first).await[0].status, TaskStatus::Deleting);
    let left = tasks::CleanUp {
        problem: Problem::transient("unreachable", "The source can't be reached."),
        statements: vec!["select pg_drop_replication_slot('wm')".to_owned()],
    };
    report(&pool, first, task, Epoch(2), Stand::CleanUpPending(left.clone())).await;
    let pending = tasks::get(&mut connection, task).await.unwrap().unwrap();
    assert_eq!((pending.status, pending.clean_up), (TaskStatus::CleanUpPending, Some(left)));
    event(&mut connection, task, TaskEvent::DeleteAsked).await;
    claim(&pool, first).await;
    assert_eq!(report(&pool, first, task, Epoch(3), Stand::CleanedUp).await, Answer::Continue(Asked::default()));
    assert!(tasks::get(&mut connection, task).await.unwrap().is_none());
    assert_eq!(report(&pool, first, task, Epoch(3), Stand::Running).await, Answer::Abandon);
}
