//! Foreign keys that act by themselves at the source: what they did is in the log and is done once in the target, by a role
//! that may switch them off there and by one that may not.

use wavemark_domain::state::TableState;
use wavemark_engine::Ended;

use crate::support::journey::{Journey, ROLES, shown};
use crate::support::pair::rows_of;

/// Twenty parents and fifteen children, each of another.
fn family(of: &str, key: &str) -> String {
    format!(
        "CREATE TABLE parents (id integer PRIMARY KEY, region text); \
         INSERT INTO parents SELECT n, 'eu' FROM generate_series(1, 20) n; \
         CREATE TABLE children (id integer, of integer DEFAULT 20, \
            CONSTRAINT of_parent FOREIGN KEY (of) REFERENCES parents {of}); {key}; \
         INSERT INTO children SELECT n, n FROM generate_series(1, 15) n"
    )
}

const KEYED: &str = "ALTER TABLE children ADD PRIMARY KEY (id)";
const BY_PARENT: &str = "ALTER TABLE children ADD PRIMARY KEY (of, id)";
const KEYLESS: &str = "ALTER TABLE children REPLICA IDENTITY FULL";

async fn family_arrives(role: &'static str, schema: &str, changes: &[&str]) {
    Journey::of(role, schema, &["parents", "children"]).await.arrives(changes).await;
}

#[tokio::test]
async fn a_parents_key_in_the_key_of_its_children_moves_with_it() {
    let changes = ["UPDATE parents SET id = 101 WHERE id = 1", "UPDATE parents SET id = id + 1000 WHERE id < 10"];
    for role in ROLES {
        family_arrives(role, &family("ON UPDATE CASCADE", BY_PARENT), &changes).await;
    }
}

#[tokio::test]
async fn a_key_moves_through_the_keys_of_two_levels_of_children() {
    let schema = "CREATE TABLE a (id integer PRIMARY KEY); \
        CREATE TABLE b (a integer REFERENCES a ON UPDATE CASCADE ON DELETE CASCADE, n integer, PRIMARY KEY (a, n)); \
        CREATE TABLE c (a integer, n integer, m integer, PRIMARY KEY (a, n, m), \
            FOREIGN KEY (a, n) REFERENCES b ON UPDATE CASCADE ON DELETE CASCADE); \
        INSERT INTO a SELECT generate_series(1, 5); INSERT INTO b SELECT n, n FROM generate_series(1, 5) n; \
        INSERT INTO c SELECT n, n, n FROM generate_series(1, 5) n";
    for role in ROLES {
        let changes = ["DELETE FROM a WHERE id = 5", "UPDATE a SET id = id + 100"];
        Journey::of(role, schema, &["a", "b", "c"]).await.arrives(&changes).await;
    }
}

#[tokio::test]
async fn a_default_that_is_set_in_a_childs_key_is_set_once() {
    for role in ROLES {
        family_arrives(role, &family("ON DELETE SET DEFAULT", BY_PARENT), &["DELETE FROM parents WHERE id = 1"]).await;
    }
}

#[tokio::test]
async fn children_without_a_key_are_changed_once() {
    for (of, change) in [
        ("ON DELETE SET NULL", "DELETE FROM parents WHERE id = 1"),
        ("ON DELETE SET DEFAULT", "DELETE FROM parents WHERE id = 1"),
        ("ON UPDATE CASCADE", "UPDATE parents SET id = 101 WHERE id = 1"),
    ] {
        family_arrives("plain", &family(of, KEYLESS), &[change]).await;
    }
}

#[tokio::test]
async fn children_without_a_key_are_deleted_once() {
    for role in ROLES {
        let changes = ["DELETE FROM parents WHERE id = 1", "DELETE FROM parents WHERE id BETWEEN 3 AND 6"];
        family_arrives(role, &family("ON DELETE CASCADE", KEYLESS), &changes).await;
    }
}

#[tokio::test]
async fn a_child_that_is_reached_by_two_ways_is_freed_and_then_deleted() {
    let schema = "CREATE TABLE top (id integer PRIMARY KEY); \
        CREATE TABLE one (id integer PRIMARY KEY REFERENCES top ON DELETE CASCADE); \
        CREATE TABLE two (id integer PRIMARY KEY REFERENCES top ON DELETE CASCADE); \
        CREATE TABLE child (id integer PRIMARY KEY, a integer REFERENCES one ON DELETE SET NULL, \
            b integer REFERENCES two ON DELETE CASCADE); \
        INSERT INTO top VALUES (1), (2); INSERT INTO one VALUES (1), (2); INSERT INTO two VALUES (1), (2); \
        INSERT INTO child VALUES (1, 1, 1), (2, 2, 2), (3, 1, 2), (4, 2, 1)";
    for role in ROLES {
        let tables = ["top", "one", "two", "child"];
        Journey::of(role, schema, &tables).await.arrives(&["DELETE FROM top WHERE id = 1"]).await;
    }
}

#[tokio::test]
async fn children_of_a_row_whose_generated_key_moves_stay() {
    let schema = "CREATE TABLE parents (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer); \
        CREATE TABLE children (id integer PRIMARY KEY, of integer REFERENCES parents ON UPDATE CASCADE ON DELETE CASCADE); \
        INSERT INTO parents (n) VALUES (1), (2); INSERT INTO children VALUES (1, 1), (2, 2)";
    for role in ROLES {
        family_arrives(role, schema, &["UPDATE parents SET id = DEFAULT WHERE id = 1"]).await;
    }
}

/// It stays in the target, where it refuses what it would be violated by unless the role may switch it off.
#[tokio::test]
async fn a_foreign_key_that_the_source_dropped_deletes_nothing_in_the_target() {
    for change in ["DELETE FROM parents WHERE id = 1", "TRUNCATE parents", "UPDATE parents SET id = 100 WHERE id = 2"] {
        let change = format!("ALTER TABLE children DROP CONSTRAINT of_parent; {change}");
        let schema = family("ON DELETE CASCADE ON UPDATE CASCADE", KEYED);
        family_arrives("postgres", &schema, &[&change]).await;
        let mut journey = Journey::of("plain", &schema, &["parents", "children"]).await;
        journey.load().await;
        let before = rows_of(&journey.pair.mart, "children").await;
        let (run, outcome) = journey.follow(&change).await;
        assert_eq!(outcome.unwrap(), Ended::Finished, "{change}");
        let (state, why) = shown(&run, "parents");
        assert!(state == TableState::Parked && why.contains("constraint of_parent"), "{change}: {why}");
        assert_eq!(rows_of(&journey.pair.mart, "children").await, before, "{change}");
    }
}

#[tokio::test]
async fn a_foreign_key_that_does_something_else_by_now_does_it_in_the_target() {
    let change = "ALTER TABLE children DROP CONSTRAINT of_parent; \
        ALTER TABLE children ADD CONSTRAINT of_parent FOREIGN KEY (of) REFERENCES parents ON DELETE SET NULL; \
        DELETE FROM parents WHERE id = 1";
    for role in ROLES {
        family_arrives(role, &family("ON DELETE CASCADE", KEYED), &[change]).await;
    }
}

#[tokio::test]
async fn children_of_a_parent_that_leaves_its_filter_stay_as_they_are() {
    for of in ["ON DELETE CASCADE", "ON DELETE SET NULL", ""] {
        let schema = format!("{}; ALTER TABLE parents REPLICA IDENTITY FULL", family(of, KEYED));
        for role in ROLES {
            let journey = Journey::of(role, &schema, &["parents", "children"]).await;
            let mut journey = journey.filtered("parents", ("region", "eu"), "region = 'eu'");
            journey.arrives(&["UPDATE parents SET region = 'us' WHERE id = 1"]).await;
        }
    }
}

#[tokio::test]
async fn a_tree_is_cut_down_by_its_own_key() {
    let schema = "CREATE TABLE tree (id integer PRIMARY KEY, up integer REFERENCES tree ON DELETE CASCADE); \
        INSERT INTO tree SELECT n, nullif(n / 2, 0) FROM generate_series(1, 300) n";
    let changes = [
        "DELETE FROM tree WHERE id = 2",
        "DELETE FROM tree",
        "INSERT INTO tree SELECT n, nullif(n / 2, 0) FROM generate_series(1, 300) n",
        "UPDATE tree SET up = NULL WHERE id = 3; DELETE FROM tree WHERE id = 1",
    ];
    for role in ROLES {
        Journey::of(role, schema, &["tree"]).await.arrives(&changes).await;
    }
}

#[tokio::test]
async fn children_are_freed_of_a_part_of_their_key_alone() {
    let schema = "CREATE TABLE parents (a integer, b integer, PRIMARY KEY (a, b)); \
        CREATE TABLE children (id integer PRIMARY KEY, a integer, b integer, \
            FOREIGN KEY (a, b) REFERENCES parents ON DELETE SET NULL (b)); \
        INSERT INTO parents VALUES (1, 1), (2, 2); INSERT INTO children VALUES (1, 1, 1), (2, 2, 2)";
    for role in ROLES {
        family_arrives(role, schema, &["DELETE FROM parents WHERE a = 1"]).await;
    }
}
