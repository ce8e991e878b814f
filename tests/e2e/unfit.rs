//! What the tests of values without a place in the target have in common.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::pair;

use crate::world::World;

/// The whole schema, and for single columns what is done about their values: table, column and the way.
pub(crate) fn rules(ways: &[(&str, &str, &str)]) -> Value {
    let mut rules = pair::whole_schema("shop");
    for (at, (table, column, way)) in ways.iter().enumerate() {
        let rule = json!({
            "rule-type": "transformation", "rule-id": (at + 10).to_string(), "rule-target": "column",
            "rule-action": "unfit-values", "value": way,
            "object-locator": {"schema-name": "shop", "table-name": table, "column-name": column},
        });
        rules.as_array_mut().unwrap().push(rule);
    }
    rules
}

/// Has a worker die at a place while no other is there, and another go on.
pub(crate) async fn dies_at(world: &mut World, point: &str) {
    let armed = world.installation.add_worker_with(&[("WAVEMARK_CRASH", point)]).unwrap();
    let end = std::time::Instant::now() + Duration::from_mins(1);
    while world.installation.workers[armed].is_running() {
        assert!(std::time::Instant::now() < end, "the point {point} was not passed in a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = world.installation.workers[armed].log_end(5);
    assert!(said.contains("reached: aborting"), "{said}");
    world.installation.workers[0].start().unwrap();
}

/// What the API says of values that were altered: `table column way count`, in order.
pub(crate) async fn told(world: &World, task: Uuid) -> Vec<String> {
    let tables = world.installation.api.tables(task).await.unwrap();
    let of = |table: &wavemark_tests::api::Table| {
        let name = table.source.table.clone();
        assert!(table.unfit.iter().all(|unfit| unfit.since.is_some()), "{:?}", table.unfit);
        let said =
            |unfit: &wavemark_tests::api::Unfit| format!("{name} {} {} {}", unfit.column, unfit.way, unfit.values);
        table.unfit.iter().map(said).collect::<Vec<_>>()
    };
    tables.iter().flat_map(of).collect()
}

/// Waits until the API and the target itself count so.
pub(crate) async fn counts_become(world: &World, task: Uuid, expected: &[String], kept: impl AsyncFn() -> Vec<String>) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let (told, kept) = (told(world, task).await, kept().await);
        if told == expected && kept == expected {
            return;
        }
        if std::time::Instant::now() > end {
            assert_eq!(kept, expected, "in the target");
            assert_eq!(told, expected, "by the API");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Looks at the task's page in a browser.
pub(crate) async fn seen_on_the_page(world: &World, task: Uuid) {
    let browser = crate::pages::logged_in(&world.installation).await;
    browser.size(1_000, 800).await.unwrap();
    browser.open(&format!("/tasks/{task}?tab=tables")).await.unwrap();
    browser.sees(&["Values written otherwise", "NULL", "the nearest value that fits"]).await.unwrap();
    assert_eq!(browser.overflow().await.unwrap(), 0);
    browser.picture(&std::env::temp_dir().join("wavemark-unfit.png")).await.unwrap();
    assert_eq!(browser.complaints().await.unwrap(), Vec::<String>::new());
    browser.close().await.unwrap();
}
