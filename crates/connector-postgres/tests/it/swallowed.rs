//! Triggers and rules of the target's people that swallow rows: none is lost in silence, and none does harm to the
//! task.

use wavemark_domain::state::TableState;
use wavemark_domain::task::{DataErrorPolicy, TaskSettings};
use wavemark_engine::Ended;

use crate::support::journey::{Journey, ROLES, shown};
use crate::support::pair::rows_of;

const GOODS: &str = "CREATE TABLE goods (id integer PRIMARY KEY, note text)";

/// Swallows rows whose note is *gone*, whatever role writes them.
const SWALLOW: &str = "\
    ALTER TABLE goods OWNER TO plain; \
    CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        RETURN CASE WHEN NEW.note = 'gone' THEN NULL ELSE NEW END; END $$; \
    CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION swallow(); \
    ALTER TABLE goods ENABLE ALWAYS TRIGGER swallow";

async fn journey(role: &'static str, rows: &str, theirs: &str) -> Journey {
    let journey = Journey::of(role, &format!("{GOODS}; {rows}"), &["goods"]).await;
    journey.pair.mart.batch_execute(&format!("{GOODS}; {theirs}")).await.unwrap();
    journey
}

async fn exceptions(journey: &Journey) -> i64 {
    journey.pair.mart.query_one("SELECT count(*) FROM wavemark.exceptions", &[]).await.unwrap().get(0)
}

/// The table is parked for the row, with nothing of its transaction, and stays so.
async fn is_parked_for(role: &'static str, theirs: &str, change: &str) {
    let mut journey = journey(role, "INSERT INTO goods VALUES (1, 'one')", theirs).await;
    journey.load().await;
    for change in [change, "INSERT INTO goods VALUES (9000, 'later')"] {
        let (run, outcome) = journey.follow(change).await;
        let (state, why) = shown(&run, "goods");
        assert_eq!(outcome.unwrap(), Ended::Finished, "{role}: {change}: {why}");
        assert_eq!(state, TableState::Parked, "{role}: {change}: {why}");
        assert_eq!(rows_of(&journey.pair.mart, "goods").await, ["(1,one)"], "{role}: {change}");
    }
}

#[tokio::test]
async fn a_row_that_an_always_trigger_swallows_parks_its_table() {
    let change = "BEGIN; INSERT INTO goods VALUES (2, 'ok'); INSERT INTO goods VALUES (3, 'gone'); COMMIT";
    for role in ROLES {
        is_parked_for(role, SWALLOW, change).await;
    }
}

#[tokio::test]
async fn a_row_that_an_always_rule_swallows_parks_its_table() {
    let rule = "CREATE RULE swallow AS ON INSERT TO goods DO INSTEAD NOTHING; ALTER TABLE goods ENABLE ALWAYS RULE swallow; \
        ALTER TABLE goods OWNER TO plain";
    for role in ROLES {
        is_parked_for(role, rule, "INSERT INTO goods VALUES (2, 'ok')").await;
    }
}

#[tokio::test]
async fn one_row_among_many_that_is_swallowed_parks_its_table() {
    for role in ROLES {
        for last in [400, 6000] {
            let change = format!(
                "INSERT INTO goods SELECT n, CASE n WHEN 300 THEN 'gone' ELSE 'ok' END FROM generate_series(2, {last}) n"
            );
            is_parked_for(role, SWALLOW, &change).await;
        }
    }
}

#[tokio::test]
async fn a_row_that_is_swallowed_is_written_down_where_the_policy_leaves_rows_out() {
    for role in ROLES {
        let settings = TaskSettings { data_errors: DataErrorPolicy::LogError, ..TaskSettings::default() };
        let mut journey = journey(role, "INSERT INTO goods VALUES (1, 'one')", SWALLOW).await.with(settings);
        journey.load().await;
        let (_, outcome) = journey.follow("INSERT INTO goods VALUES (2, 'gone'), (3, 'ok')").await;
        assert_eq!(outcome.unwrap(), Ended::Finished, "{role}");
        assert_eq!(rows_of(&journey.pair.mart, "goods").await, ["(1,one)", "(3,ok)"], "{role}");
        assert_eq!(exceptions(&journey).await, 1, "{role}");
    }
}

#[tokio::test]
async fn a_row_that_is_swallowed_while_it_is_loaded_is_not_lost_in_silence() {
    for role in ROLES {
        let rows = "INSERT INTO goods VALUES (1, 'one'), (2, 'gone'), (3, 'three')";
        let mut journey = journey(role, rows, SWALLOW).await;
        let run = journey.load().await;
        let (state, why) = shown(&run, "goods");
        assert_eq!(state, TableState::Parked, "{role}: {why} {:?}", rows_of(&journey.pair.mart, "goods").await);
    }
}

#[tokio::test]
async fn an_ordinary_rule_swallows_nothing_where_the_role_may_switch_it_off_and_is_told_elsewhere() {
    let rule = "CREATE RULE swallow AS ON INSERT TO goods DO INSTEAD NOTHING; \
        CREATE RULE keep AS ON DELETE TO goods DO INSTEAD NOTHING; ALTER TABLE goods OWNER TO plain";
    is_parked_for("plain", rule, "INSERT INTO goods VALUES (2, 'ok')").await;
    let mut journey = journey("postgres", "INSERT INTO goods VALUES (1, 'one')", rule).await;
    journey.arrives(&["INSERT INTO goods VALUES (2, 'ok')", "DELETE FROM goods WHERE id = 1"]).await;
}
