//! Invented tasks, tables and events from which tests render every page.

use serde_json::{Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use wavemark_connector::spec::{FieldKind, FieldSpec, Role, SettingsSpec};
use wavemark_domain::catalog::TableKind;
use wavemark_domain::check::Step;
use wavemark_domain::ids::{ConfigVersion, Generation};
use wavemark_domain::progress::{Phase, TableProgress, TaskProgress};
use wavemark_domain::state::{TableState, TaskStatus};
use wavemark_domain::task::TaskKind;
use wavemark_domain::{
    Column, EndpointId, Epoch, Fault, Problem, Table, TableName, TableWish, TaskId, UnfitCount, UnfitPolicy, WorkerId,
};
use wavemark_store::endpoints::{Endpoint, EndpointRole};
use wavemark_store::events::Event;
use wavemark_store::pages::Figures;
use wavemark_store::samples::Sample;
use wavemark_store::task_tables::TaskTable;
use wavemark_store::tasks::{CleanUp, Holder, Task};
use wavemark_store::workers::Worker;

use super::task_row::Standing;

pub(super) const NOW: OffsetDateTime = datetime!(2026-11-21 14:32:07 UTC);

pub(super) const MAPPING: &str = r#"{
  "rules": [
    {
      "rule-type": "selection", "rule-id": "1", "rule-name": "shop",
      "object-locator": { "schema-name": "shop", "table-name": "%" },
      "rule-action": "include"
    },
    {
      "rule-type": "selection", "rule-id": "2", "rule-name": "no carts",
      "object-locator": { "schema-name": "shop", "table-name": "carts" },
      "rule-action": "exclude"
    },
    {
      "rule-type": "transformation", "rule-id": "3", "rule-name": "sales",
      "rule-target": "schema", "object-locator": { "schema-name": "shop" },
      "rule-action": "rename", "value": "sales"
    },
    {
      "rule-type": "transformation", "rule-id": "4", "rule-name": "no notes",
      "rule-target": "column",
      "object-locator": { "schema-name": "shop", "table-name": "orders", "column-name": "note" },
      "rule-action": "remove-column"
    }
  ]
}"#;

fn ago(seconds: i64) -> OffsetDateTime {
    NOW - Duration::seconds(seconds)
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap()
}

fn task(number: u128, name: &str, source: &str, target: &str, status: TaskStatus) -> Task {
    Task {
        id: TaskId(Uuid::from_u128(number)),
        name: name.to_owned(),
        kind: TaskKind::FullLoadAndCdc,
        source: EndpointId(Uuid::from_u128(100)),
        source_name: source.to_owned(),
        target: EndpointId(Uuid::from_u128(101)),
        target_name: target.to_owned(),
        config_version: ConfigVersion(14),
        status,
        status_since: ago(1_051_200),
        generation: Generation(1),
        epoch: Epoch(7),
        progress: None,
        progress_at: None,
        problem: None,
        clean_up: None,
        worker: None,
        tables: 0,
        parked: 0,
        created_at: ago(2_000_000),
        started_at: Some(ago(1_051_200)),
        stopped_at: None,
        draining: false,
    }
}

fn on_worker(name: &str) -> Holder {
    Holder { id: WorkerId(Uuid::from_u128(1)), name: name.to_owned(), lapsed: false, renewed_at: NOW }
}

fn following(lag_ms: u64) -> TaskProgress {
    TaskProgress {
        phase: Phase::Following,
        source_position: Some("3A/91C0F2B8".to_owned()),
        read_position: Some("3A/91C0E710".to_owned()),
        bookmark: Some("3A/91BF77A0".to_owned()),
        wave: Some(81_233),
        lag_ms: Some(lag_ms),
        behind_bytes: Some(97_048),
        log_kept_bytes: Some(1_288_490_189),
        log_limit_bytes: Some(64 << 30),
        changes_read: 1_204_118,
        changes_written: 1_203_990,
        waves: 81_233,
        wave_changes: 2_048,
        wave_ms: Some(38),
        apply_us: 31_000_000,
        commit_us: 7_000_000,
        read_wait_us: 4_000_000,
        in_hand_transactions: 3,
        in_hand_bytes: 14 << 20,
        ..TaskProgress::default()
    }
}

/// A degraded task: one table parked, three seconds behind.
pub(super) fn shop() -> Task {
    Task {
        progress: Some(following(3_400)),
        progress_at: Some(ago(1)),
        worker: Some(on_worker("eu-2")),
        tables: 59,
        parked: 1,
        ..task(2, "shop-to-analytics", "shop-prod", "analytics", TaskStatus::Degraded)
    }
}

/// A task in the middle of its load.
pub(super) fn crm() -> Task {
    let progress = TaskProgress {
        phase: Phase::Loading,
        rows_loaded: 36_529_112,
        log_kept_bytes: Some(310 << 20),
        behind_bytes: Some(310 << 20),
        ..TaskProgress::default()
    };
    Task {
        progress: Some(progress),
        progress_at: Some(ago(1)),
        worker: Some(on_worker("eu-1")),
        status_since: ago(700),
        tables: 24,
        ..task(3, "crm-to-analytics", "crm-prod", "analytics", TaskStatus::Running)
    }
}

fn billing() -> Task {
    let problem = Problem::new(
        Fault::PositionLost,
        "slot-lost",
        "the slot wavemark_1f3a_1 of billing-prod was invalidated because it kept more log than max_slot_wal_keep_size",
    )
    .server_code("55000: can no longer get changes from replication slot \"wavemark_1f3a_1\"")
    .advice("Raise max_slot_wal_keep_size in billing-prod, then load everything again.")
    .position("3A/7F00A1C8");
    Task {
        status_since: ago(1_860),
        problem: Some(problem),
        tables: 42,
        progress: Some(TaskProgress {
            lag_ms: Some(90_000),
            log_kept_bytes: Some(40 << 30),
            log_problem: Some(over_budget()),
            ..following(90_000)
        }),
        ..task(1, "billing-to-warehouse", "billing-prod", "warehouse", TaskStatus::Failed)
    }
}

fn over_budget() -> Problem {
    Problem::transient("log-over-budget", "The source keeps 40960 MiB of log for this task; its budget is 4096 MiB")
}

fn deleted() -> Task {
    let problem = Problem::transient("unreachable", "old-erp did not answer within 10 s");
    let statements = vec![
        "SELECT pg_drop_replication_slot('wavemark_77c2_1');".to_owned(),
        "DROP PUBLICATION wavemark_77c2_1;".to_owned(),
    ];
    Task {
        clean_up: Some(CleanUp { problem, statements }),
        status_since: ago(300),
        ..task(9, "erp-to-archive", "old-erp", "archive", TaskStatus::CleanUpPending)
    }
}

pub(super) fn standings() -> Vec<Standing> {
    let standing = |task: Task, well, rate: Option<f64>, lags: Vec<i64>| Standing {
        figures: Figures {
            well,
            chunks: 640,
            chunks_done: 405,
            read_rate: rate.map(|rate| rate * 1.02),
            write_rate: rate,
            load_rate: (task.name == "crm-to-analytics").then_some(212_000.0),
            log_growth: Some(520_000.0),
        },
        lags: lags.iter().enumerate().map(|(at, lag)| (59 - i32::try_from(at).unwrap(), *lag)).collect(),
        task,
    };
    let wave = |from: i64, to: i64| {
        (0..60)
            .map(|at| 200 + (at * 37) % 90 + if at > 44 { from + (to - from) * (at - 44) / 15 } else { 0 })
            .collect::<Vec<i64>>()
    };
    let live = |number, name, source, target, lag| Task {
        progress: Some(following(lag)),
        progress_at: Some(ago(1)),
        worker: Some(on_worker("eu-1")),
        tables: 6,
        ..task(number, name, source, target, TaskStatus::Running)
    };
    vec![
        standing(billing(), 0, None, wave(0, 90_000)),
        standing(shop(), 58, Some(12_440.0), wave(0, 3_400)),
        standing(crm(), 9, None, vec![]),
        standing(live(4, "orders-to-search", "shop-prod", "search", 210), 6, Some(3_120.0), wave(0, 0)),
        standing(live(5, "users-to-replica", "users", "users-eu", 90), 6, Some(410.0), wave(0, 0)),
        standing(
            Task {
                tables: 18,
                progress: Some(following(0)),
                ..task(6, "archive-2024", "archive", "cold", TaskStatus::Stopped)
            },
            18,
            None,
            vec![],
        ),
    ]
}

pub(super) fn all_tasks() -> Vec<Task> {
    standings().into_iter().map(|standing| standing.task).chain([deleted()]).collect()
}

fn table(
    name: &str,
    state: TableState,
    rows: u64,
    chunks: (u32, u32),
    changes: (u64, u64, u64),
    newest: Option<i64>,
) -> TableProgress {
    TableProgress {
        table: TableName::new("public", name),
        target: TableName::new("public", name),
        state,
        rows_estimated: Some(rows.max(90_000) * 5 / 4),
        rows_loaded: rows,
        bytes_loaded: rows * 120,
        chunks: chunks.1,
        chunks_done: chunks.0,
        chunks_read: chunks.0,
        rows_refetched: 0,
        inserts: changes.0,
        updates: changes.1,
        deletes: changes.2,
        truncates: 0,
        exceptions: 0,
        conflicts: 0,
        unfit: Vec::new(),
        applied_commit_at: newest.map(|seconds| micros(ago(seconds))),
        problem: None,
    }
}

fn unfit(column: &str, way: UnfitPolicy, values: u64) -> UnfitCount {
    UnfitCount { column: column.to_owned(), way, values, since: micros(ago(364)) }
}

pub(super) fn tables() -> Vec<TaskTable> {
    let parked = Problem::new(Fault::Data, "row-exists", "a row to insert is already in the target")
        .server_code("23505: duplicate key value violates unique constraint \"audit_log_pkey\"")
        .advice("Someone else writes to this table in the target: find out who.")
        .table(&TableName::new("public", "audit_log"))
        .position("3A/91A0C118");
    let parked = Problem { key_columns: vec!["id".to_owned()], ..parked };
    let audit = TableProgress {
        problem: Some(parked),
        ..table("audit_log", TableState::Parked, 1_204_551, (12, 12), (99_120, 0, 0), Some(364))
    };
    let items = table("order_items", TableState::Live, 31_002_921, (310, 310), (4_310_220, 12_001, 33), Some(2));
    let items = TableProgress { target: TableName::new("sales", "order_lines"), rows_refetched: 1_204, ..items };
    [
        table("orders", TableState::Live, 8_214_332, (82, 82), (1_204_118, 880_120, 2_004), Some(1)),
        items,
        table("sessions", TableState::Waiting, 0, (0, 0), (0, 0, 0), None),
        table("shipments", TableState::Loading, 4_112_900, (41, 72), (0, 0, 0), None),
        table("refunds", TableState::CatchingUp, 210_334, (2, 2), (8_110, 70, 1), Some(12)),
        TableProgress {
            exceptions: 3,
            unfit: vec![unfit("moved_in", UnfitPolicy::Null, 1_204), unfit("street", UnfitPolicy::Clamp, 1)],
            ..table("addresses", TableState::Live, 902_118, (9, 9), (22_840, 9_001, 118), Some(41))
        },
        audit,
    ]
    .into_iter()
    .map(|progress| {
        let asked = (progress.table.table == "orders").then_some(TableWish::Reload);
        TaskTable { since: ago(364), progress, asked }
    })
    .collect()
}

pub(super) fn samples() -> Vec<Sample> {
    let figure = |at: i64, period: i64, low: i64, high: i64| {
        let place = (at % period - period / 2).abs() * 2;
        low + (high - low) * place / period + (at * 7_919) % 97
    };
    (0..360_i64)
        .map(|at| {
            let wave = if (200..290).contains(&at) { (45 - (at - 245).abs()) * 60 } else { 0 };
            #[expect(clippy::cast_precision_loss, reason = "an invented figure")]
            let rate = |at: i64| figure(at, 90, 9_000, 13_000) as f64;
            Sample {
                at: ago((360 - at) * 10),
                lag_ms: Some(figure(at, 120, 200, 500) + wave),
                behind_bytes: Some(90_000),
                log_kept_bytes: Some(1 << 30),
                read_rate: (at > 0).then(|| rate(at)),
                write_rate: (at > 0).then(|| rate(at + 11) * 0.97),
                write_byte_rate: None,
                load_rate: None,
            }
        })
        .collect()
}

pub(super) fn events() -> Vec<Event> {
    let event = |id, seconds, severity: &str, code: &str, text: &str, problem: Option<Problem>| Event {
        id,
        at: ago(seconds),
        worker_at: None,
        severity: severity.to_owned(),
        code: code.to_owned(),
        text: text.to_owned(),
        task: Some(TaskId(Uuid::from_u128(2))),
        task_name: Some("shop-to-analytics".to_owned()),
        config_version: Some(14),
        worker: None,
        epoch: Some(7),
        table: problem.as_ref().and_then(|problem| problem.table.clone()),
        problem,
    };
    let parked = tables().pop().unwrap().progress.problem;
    vec![
        event(
            5,
            364,
            "error",
            "table-parked",
            "The table public.audit_log is parked: a row to insert is already in the target.",
            parked,
        ),
        event(
            4,
            1_200,
            "warning",
            "wave-retried",
            "Wave 80 911 was tried again after a deadlock with another session.",
            None,
        ),
        event(3, 86_400, "info", "table-live", "The table public.orders is live.", None),
        event(2, 90_000, "info", "load-started", "The load of 59 tables has started with 4 readers.", None),
        event(1, 1_051_200, "info", "task-starting", "The task \"shop-to-analytics\" is starting.", None),
    ]
}

pub(super) fn workers() -> Vec<Worker> {
    let worker = |number: u128, name: &str, seen: i64, draining| Worker {
        id: WorkerId(Uuid::from_u128(number)),
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        places: 8,
        engines: vec!["postgresql".to_owned()],
        registered_at: ago(1_051_200),
        seen_at: ago(seen),
        alive: seen < 10,
        draining,
        cpu_percent: Some(63.4),
        memory_bytes: Some(181 << 20),
        tasks: if seen < 10 { 3 } else { 0 },
    };
    vec![
        worker(1, "eu-1", 0, false),
        worker(2, "eu-2", 1, false),
        worker(3, "us-1", 2_300, false),
        worker(4, "eu-0", 1, true),
    ]
}

pub(super) fn spec() -> SettingsSpec {
    let field = |name, label, kind, required, secret, default, doc| FieldSpec {
        name,
        label,
        kind,
        required,
        secret,
        default,
        doc,
    };
    SettingsSpec {
        engine: "postgresql",
        title: "PostgreSQL",
        role: Role::Both,
        positions: None,
        fields: vec![
            field("host", "Host", FieldKind::Text, true, false, None, "Host name or address."),
            field("port", "Port", FieldKind::Integer { min: 1, max: 65_535 }, false, false, Some("5432"), "TCP port."),
            field("database", "Database", FieldKind::Text, true, false, None, "The database."),
            field("user", "User", FieldKind::Text, true, false, None, "The role that logs in."),
            field("password", "Password", FieldKind::Text, false, true, None, "Its password, if it has one."),
            field(
                "tls_mode",
                "TLS",
                FieldKind::Choice { words: &["disable", "require", "verify-ca", "verify-full"] },
                false,
                false,
                Some("require"),
                "What is demanded of the connection.",
            ),
            field(
                "tls_ca",
                "CA certificates",
                FieldKind::Pem,
                false,
                false,
                None,
                "Who may have signed the server's certificate.",
            ),
        ],
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let step = |name: &str, passed, text: &str, mend: Option<&str>| Step {
        name: name.to_owned(),
        passed,
        text: text.to_owned(),
        mend: mend.map(str::to_owned),
    };
    let steps = |ok| {
        vec![
            step("resolve", true, "db1.shop.internal is 10.2.0.14", None),
            step("connect", true, "10.2.0.14:5432 answers in 2 ms", None),
            step("TLS", true, "TLS 1.3, the certificate names db1.shop.internal and is signed by the given CA", None),
            step("log in", true, "as wavemark, PostgreSQL 15.8", None),
            step(
                "privileges",
                ok,
                if ok { "may replicate and read 59 tables" } else { "the role wavemark may not replicate" },
                (!ok).then_some("ALTER ROLE wavemark REPLICATION;"),
            ),
        ]
    };
    let endpoint = |number: u128, name: &str, role, test: Option<Vec<Step>>| Endpoint {
        id: EndpointId(Uuid::from_u128(number)),
        name: name.to_owned(),
        engine: "postgresql".to_owned(),
        role,
        settings: json!({"host": format!("{name}.internal"), "port": 5432, "database": "shop", "user": "wavemark", "tls_mode": "verify-full"}),
        secrets: vec!["password".to_owned()],
        version: 3,
        created_at: ago(9_000_000),
        updated_at: ago(900_000),
        tested_at: test.as_ref().map(|_| ago(4_000)),
        test,
        discovered_at: None,
    };
    vec![
        endpoint(101, "analytics", EndpointRole::Target, Some(steps(true))),
        endpoint(100, "shop-prod", EndpointRole::Source, Some(steps(false))),
        endpoint(102, "warehouse", EndpointRole::Both, None),
    ]
}

pub(super) fn discovered() -> Vec<Table> {
    let column = |name: &str| Column {
        name: name.to_owned(),
        declared: "text".to_owned(),
        not_null: false,
        generated: false,
        native: Value::Null,
    };
    let table = |name: &str, columns: &[&str], key: &[&str], rows| Table {
        name: TableName::new("shop", name),
        kind: TableKind::Table,
        columns: columns.iter().map(|name| column(name)).collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        rows_estimated: Some(rows),
        bytes_estimated: Some(rows * 130),
        native: Value::Null,
    };
    vec![
        table("orders", &["id", "customer_id", "placed_at", "note"], &["id"], 8_214_332),
        table("order_items", &["order_id", "line", "product_id"], &["order_id", "line"], 31_002_921),
        table("carts", &["id"], &["id"], 90_210),
        table("clicks", &["at", "path"], &[], 1_200),
    ]
}
