//! Row by row: the failing row is found and can be left out.

use wavemark_connector::target::{Checks, Conflict, Refused, Segment, Session, Verdict};
use wavemark_domain::Fault;

use super::*;

async fn accounts(database: &Database) -> [TablePlan; 1] {
    database
        .sql(
            "CREATE SCHEMA shop; CREATE TABLE shop.accounts (id integer PRIMARY KEY, owner text, \
             balance integer CHECK (balance >= 0)); INSERT INTO shop.accounts VALUES (1, 'a', 1), (2, 'b', 2)",
        )
        .await;
    [plan(0, "accounts", &[("id!", "integer"), ("owner", "text"), ("balance", "integer")])]
}

fn poisoned() -> Batch {
    let mut batch = Batch::default();
    insert(&mut batch, 0, &[V::Int(3), V::Text("c"), V::Int(3)]);
    batch.end_transaction(position(8), 0);
    insert(&mut batch, 0, &[V::Int(4), V::Text("secret"), V::Int(-4)]);
    update(&mut batch, 0, None, &[V::Int(77), V::Text("nobody"), V::Int(7)]);
    update(&mut batch, 0, None, &[V::Int(1), V::Text("a2"), V::Int(11)]);
    batch.end_transaction(position(9), 0);
    batch
}

#[tokio::test]
async fn rows_that_fail_are_left_out_and_written_to_the_exceptions_in_the_same_commit() {
    let database = Database::new().await;
    let plan = accounts(&database).await;
    let mut session = session(&database, &plan).await;
    let batch = poisoned();
    let mut seen = Vec::new();
    session
        .apply_carefully(&plan, &Segment::whole(&batch), Checks::AsDeclared, &mut |row| {
            let (at, problem) = (row.index, row.problem);
            seen.push((at, problem.code.clone(), problem.key_columns.clone()));
            assert!(!problem.text.contains("secret"), "{problem}");
            Verdict::LeaveOut
        })
        .await
        .unwrap();
    assert_eq!(database.rows("SELECT count(*) FROM wavemark.exceptions").await, "0", "not committed yet");
    commit(&mut session, 1).await.unwrap();
    let id = vec!["id".to_owned()];
    assert_eq!(seen, [(1, "check-violated".to_owned(), id.clone()), (2, "divergence".to_owned(), id)]);
    let rows = database.rows("SELECT id AS a, owner AS b, balance AS c FROM shop.accounts ORDER BY id").await;
    assert_eq!(rows, "1|a2|11\n2|b|2\n3|c|3");
    let exceptions = "SELECT wave AS a, source_table AS b, kind AS c, key::text AS d, code AS e, \
        encode(position, 'hex') AS f, wave_position_text AS g FROM wavemark.exceptions ORDER BY id";
    assert_eq!(
        database.rows(exceptions).await,
        "1|shop.accounts|insert|{\"id\": \"4\"}|23514|09|0/1\n1|shop.accounts|update|{\"id\": \"77\"}|WM002|09|0/1"
    );
}

/// Rows that are not as the changes expect them are told apart from other refusals by a look, and become what they are
/// to be.
#[tokio::test]
async fn a_conflict_is_what_the_look_finds_and_is_settled_by_the_change() {
    let database = Database::new().await;
    let plan = accounts(&database).await;
    database.sql("CREATE UNIQUE INDEX ON shop.accounts (owner)").await;
    let mut session = session(&database, &plan).await;
    let mut batch = Batch::default();
    insert(&mut batch, 0, &[V::Int(1), V::Text("mine"), V::Int(10)]);
    insert(&mut batch, 0, &[V::Int(5), V::Text("b"), V::Int(5)]);
    update(&mut batch, 0, None, &[V::Int(8), V::Text("new"), V::Int(8)]);
    update(&mut batch, 0, None, &[V::Int(9), V::Unchanged, V::Int(9)]);
    delete(&mut batch, 0, &[V::Int(7), V::Null, V::Null]);
    let mut seen = Vec::new();
    session
        .apply_carefully(&plan, &Segment::whole(&batch), Checks::AsDeclared, &mut |row| {
            seen.push((row.index, row.problem.code.clone(), row.conflict));
            match row.conflict {
                Some(Conflict::RowMissing { whole: false }) | None => Verdict::LeaveOut,
                Some(_) => Verdict::Resolve,
            }
        })
        .await
        .unwrap();
    commit(&mut session, 1).await.unwrap();
    let missing = |whole| Some(Conflict::RowMissing { whole });
    let told = |at, code: &str, conflict| (at, code.to_owned(), conflict);
    assert_eq!(
        seen,
        [
            told(0, "duplicate-key", Some(Conflict::RowExists)),
            // Another row has the owner: not the one that the change is about.
            told(1, "duplicate-key", None),
            told(2, "divergence", missing(true)),
            told(3, "divergence", missing(false)),
            told(4, "divergence", missing(false)),
        ]
    );
    let rows = database.rows("SELECT id AS a, owner AS b, balance AS c FROM shop.accounts ORDER BY id").await;
    assert_eq!(rows, "1|mine|10\n2|b|2\n8|new|8");
}

#[tokio::test]
async fn an_abort_ends_with_the_rows_own_problem_and_leaves_nothing() {
    let database = Database::new().await;
    let plan = accounts(&database).await;
    let mut session = session(&database, &plan).await;
    let batch = poisoned();
    let problem = session
        .apply_carefully(&plan, &Segment::whole(&batch), Checks::AsDeclared, &mut |_| Verdict::Abort)
        .await
        .unwrap_err();
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Data, "check-violated"));
    assert_eq!(problem.server_code.as_deref(), Some("23514"));
    session.roll_back().await.unwrap();
    assert_eq!(database.rows("SELECT count(*) FROM shop.accounts").await, "2");
}

#[tokio::test]
async fn a_value_that_the_server_cannot_read_is_noted_by_its_bytes() {
    let database = Database::new().await;
    let plan = accounts(&database).await;
    let mut session = session(&database, &plan).await;
    let mut batch = Batch::default();
    insert(&mut batch, 0, &[V::Bytes(vec![1, 2, 3]), V::Text("x"), V::Int(1)]);
    session
        .apply_carefully(&plan, &Segment::whole(&batch), Checks::AsDeclared, &mut |_| Verdict::LeaveOut)
        .await
        .unwrap();
    commit(&mut session, 1).await.unwrap();
    assert_eq!(database.rows("SELECT key::text FROM wavemark.exceptions").await, "{\"id\": \"\\\\x010203\"}");
}

/// What the engine does with a wave that fails on data: both halves of it, at the border of a transaction.
#[tokio::test]
async fn the_good_half_of_a_failed_wave_goes_after_a_roll_back() {
    let database = Database::new().await;
    let plan = accounts(&database).await;
    let mut session = session(&database, &plan).await;
    let batch = poisoned();
    let first = wave(&mut session, &plan, &batch, 1).await.unwrap_err();
    assert_eq!(first.fault, Fault::Data);
    session.roll_back().await.unwrap();
    session.apply(&plan, &Segment { batch: &batch, range: 0..1, without: None }).await.unwrap();
    commit(&mut session, 1).await.unwrap();
    let parked = (TableId(0), position(8), Problem::new(Fault::Data, "check-violated", "It failed."));
    session
        .commit(&WaveEnd {
            wave: WaveNumber(2),
            position: &position(9),
            position_text: "0/9",
            committed_at: None,
            parked: &[parked],
        })
        .await
        .unwrap();
    assert_eq!(database.rows("SELECT id FROM shop.accounts ORDER BY id").await, "1\n2\n3");
    let (kept, ..) = database.target().open_session(&task(2, false)).await.unwrap();
    assert_eq!(kept.tables[0].position, position(8));
    match &kept.tables[0].stage {
        Stage::Parked(problem) => assert_eq!(problem.text, "It failed."),
        other => panic!("{other:?}"),
    }
}

/// A constraint that waits for the commit has no row to blame there; checked at once, it has.
#[tokio::test]
async fn what_only_the_commit_refuses_is_found_when_constraints_are_checked_at_once() {
    let database = Database::new().await;
    let plan = accounts(&database).await;
    database
        .sql(
            "CREATE FUNCTION shop.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.owner = 'late' THEN RAISE EXCEPTION USING ERRCODE = 'check_violation'; END IF; RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON shop.accounts DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION shop.refuse(); ALTER TABLE shop.accounts ENABLE ALWAYS TRIGGER late",
        )
        .await;
    let mut session = session(&database, &plan).await;
    let mut batch = Batch::default();
    insert(&mut batch, 0, &[V::Int(3), V::Text("c"), V::Int(3)]);
    insert(&mut batch, 0, &[V::Int(4), V::Text("late"), V::Int(4)]);
    insert(&mut batch, 0, &[V::Int(5), V::Text("e"), V::Int(5)]);
    batch.end_transaction(position(9), 0);
    let segment = Segment::whole(&batch);
    let mut left_out = Vec::new();
    for checks in [Checks::AsDeclared, Checks::AtOnce] {
        left_out.clear();
        let mut verdict = |row: Refused<'_>| {
            left_out.push((row.index, row.problem.code.clone()));
            Verdict::LeaveOut
        };
        session.apply_carefully(&plan, &segment, checks, &mut verdict).await.unwrap();
        let committed = commit(&mut session, 1).await;
        assert_eq!(committed.is_err(), checks == Checks::AsDeclared, "{committed:?}");
        if let Err(problem) = committed {
            assert_eq!((problem.fault, left_out.len()), (Fault::Data, 0), "{problem}");
            session.roll_back().await.unwrap();
        }
    }
    assert_eq!(left_out, [(1, "check-violated".to_owned())]);
    assert_eq!(database.rows("SELECT id FROM shop.accounts ORDER BY id").await, "1\n2\n3\n5");
    assert_eq!(database.rows("SELECT count(*) FROM wavemark.exceptions").await, "1");
}
