//! Statements whose foreign keys hold at their end only, as the source checks them: several rows of one statement, or
//! several tables of one, in an order that no key would allow row by row. Their keys can't be put off.

use crate::support::journey::{Journey, ROLES};

const FAMILY: &str = "\
    CREATE TABLE parents (id integer PRIMARY KEY, note text); INSERT INTO parents SELECT n, 'p' FROM generate_series(1, 20) n; \
    CREATE TABLE children (id integer PRIMARY KEY, of integer REFERENCES parents); \
    INSERT INTO children SELECT n, n FROM generate_series(1, 15) n";

const TREE: &str = "CREATE TABLE tree (id integer PRIMARY KEY, up integer REFERENCES tree); \
    INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)";

async fn family_arrives(changes: &[&str]) {
    for role in ROLES {
        Journey::of(role, FAMILY, &["parents", "children"]).await.arrives(changes).await;
    }
}

#[tokio::test]
async fn a_tree_is_deleted_by_one_statement() {
    for role in ROLES {
        Journey::of(role, TREE, &["tree"]).await.arrives(&["DELETE FROM tree"]).await;
    }
}

#[tokio::test]
async fn a_tree_is_inserted_from_its_leaves_by_one_statement() {
    for role in ROLES {
        Journey::of(role, TREE, &["tree"]).await.arrives(&["INSERT INTO tree VALUES (5, 4), (4, 3)"]).await;
    }
}

#[tokio::test]
async fn the_keys_of_a_tree_move_by_one_statement() {
    for role in ROLES {
        Journey::of(role, TREE, &["tree"]).await.arrives(&["UPDATE tree SET id = id + 10, up = up + 10"]).await;
    }
}

#[tokio::test]
async fn parents_and_children_are_inserted_by_one_statement() {
    family_arrives(&["WITH p AS (INSERT INTO parents VALUES (77, 'x')) INSERT INTO children VALUES (77, 77)"]).await;
}

#[tokio::test]
async fn parents_and_children_are_deleted_by_one_statement() {
    family_arrives(&["WITH c AS (DELETE FROM children WHERE of = 1) DELETE FROM parents WHERE id = 1"]).await;
}

#[tokio::test]
async fn keys_of_parents_and_children_move_by_one_statement() {
    let change = "WITH c AS (UPDATE children SET of = 101 WHERE of = 1) UPDATE parents SET id = 101 WHERE id = 1";
    family_arrives(&[change]).await;
}

#[tokio::test]
async fn parents_and_children_are_emptied_together() {
    family_arrives(&[
        "TRUNCATE parents, children",
        "INSERT INTO parents VALUES (1, 'x'); INSERT INTO children VALUES (1, 1)",
        "TRUNCATE parents CASCADE",
        "INSERT INTO parents VALUES (2, 'x')",
    ])
    .await;
}

#[tokio::test]
async fn three_levels_are_emptied_together() {
    let schema = format!(
        "{FAMILY}; CREATE TABLE toys (id integer PRIMARY KEY, of integer REFERENCES children); INSERT INTO toys VALUES (1, 1)"
    );
    for role in ROLES {
        let mut journey = Journey::of(role, &schema, &["parents", "children", "toys"]).await;
        journey.arrives(&["TRUNCATE parents CASCADE", "INSERT INTO parents VALUES (2, 'x')"]).await;
    }
}

#[tokio::test]
async fn tables_whose_keys_delete_or_free_children_are_emptied_together() {
    for action in ["CASCADE", "SET NULL"] {
        let schema = FAMILY.replace("REFERENCES parents", &format!("REFERENCES parents ON DELETE {action}"));
        for role in ROLES {
            let mut journey = Journey::of(role, &schema, &["parents", "children"]).await;
            journey.arrives(&["TRUNCATE parents, children", "INSERT INTO parents VALUES (1, 'a')"]).await;
        }
    }
}
