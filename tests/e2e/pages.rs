//! The pages in a real browser, as a person uses them: what is asserted are words that stand there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;
use wavemark_tests::browser::Browser;
use wavemark_tests::cluster::Cluster;
use wavemark_tests::installation::{ADMIN, Installation};
use wavemark_tests::pair::{Pair, SOURCE, TARGET};
use wavemark_tests::shop::{self, Pace, Size, Writers};

use crate::world::{World, until};

const TABLES: &str = "create schema shop;
    create table shop.customers (id int primary key, name text not null);
    create table shop.orders (id int primary key, customer int not null references shop.customers, note text);
    insert into shop.customers select n, 'customer ' || n from generate_series(1, 40) n;
    insert into shop.orders select n, n % 40 + 1, 'order ' || n from generate_series(1, 100) n;
    analyze shop.customers, shop.orders";

/// Into a schema of another name.
const MAPPING: &str = r#"{"rules": [
{"rule-type": "selection", "rule-id": "1", "rule-name": "the shop", "rule-action": "include",
 "object-locator": {"schema-name": "shop", "table-name": "%"}},
{"rule-type": "transformation", "rule-id": "2", "rule-name": "its copy", "rule-target": "schema",
 "object-locator": {"schema-name": "shop"}, "rule-action": "rename", "value": "copied"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_makes_a_task_breaks_it_and_heals_it_in_the_browser() {
    let pair = Pair::start().await.unwrap();
    pair.source_client().await.unwrap().batch_execute(TABLES).await.unwrap();
    let mut installation = Installation::start_without_users().await.unwrap();
    installation.add_worker().unwrap();
    let browser = Browser::start(installation.api.base()).await.unwrap();

    makes_the_first_admin(&browser, &installation).await;
    makes_an_endpoint_whose_password_was_wrong(&browser, &pair.source).await;
    makes_the_target(&browser, &pair.target).await;
    makes_a_task_and_sees_its_mapping(&browser).await;
    sees_it_become_live_and_follow(&browser, &pair).await;
    for (page, path) in [("overview", "/"), ("task", &*browser.path().await.unwrap()), ("events", "/events")] {
        let took = browser.speed(path, 20).await.unwrap();
        println!("the HTML of {page} comes in {:.1} ms (median of 20)", took.as_secs_f64() * 1000.0);
    }
    sees_a_conflict(&browser, &pair).await;
    reloads_the_table(&browser, &pair).await;
    stops_and_loads_all_again(&browser, &pair).await;

    browser.press("Log out").await.unwrap();
    browser.sees(&["Log in", "Password"]).await.unwrap();
    browser.open("/events").await.unwrap();
    assert_eq!(browser.path().await.unwrap(), "/login");
    assert_eq!(browser.complaints().await.unwrap(), Vec::<String>::new());
    installation.all_running().unwrap();
    browser.close().await.unwrap();
}

async fn makes_the_first_admin(browser: &Browser, installation: &Installation) {
    browser.open("/").await.unwrap();
    browser.sees(&["Welcome to Wavemark", "Nobody can log in yet."]).await.unwrap();
    let log = fs::read_to_string(installation.server.log()).unwrap();
    let code = log.split_once("one-time code ").expect("the server printed a code").1;
    browser.fill("One-time code", code.split_whitespace().next().unwrap()).await.unwrap();
    browser.fill("New password", installation.password()).await.unwrap();
    browser.press("Make the admin and log in").await.unwrap();
    browser.sees(&["Start with two endpoints", ADMIN, "Log out"]).await.unwrap();
}

async fn fills_in_an_endpoint(browser: &Browser, name: &str, role: &str, of: (&Cluster, &str), password: &str) {
    let (cluster, database) = of;
    browser.open("/endpoints/new").await.unwrap();
    browser.fill("Name", name).await.unwrap();
    browser.choose("Used as", role).await.unwrap();
    browser.fill("Host", "127.0.0.1").await.unwrap();
    browser.fill("Port", &cluster.port().to_string()).await.unwrap();
    browser.fill("Database", database).await.unwrap();
    browser.fill("User", database).await.unwrap();
    browser.fill("Password", password).await.unwrap();
    browser.choose("TLS", "disable").await.unwrap();
    browser.press("Save and test").await.unwrap();
}

async fn makes_an_endpoint_whose_password_was_wrong(browser: &Browser, source: &Cluster) {
    fills_in_an_endpoint(browser, "The shop", "Source", (source, SOURCE), "not the password").await;
    let failed = ["Failed", "password authentication failed", "28P01", "Correct the endpoint's user and password."];
    browser.sees(&failed).await.unwrap();
    let shown = browser.text().await.unwrap();
    assert!(!shown.contains("not the password"), "{shown}");

    browser.press("Edit").await.unwrap();
    browser.sees(&["Edit The shop"]).await.unwrap();
    browser.fill("Password", source.password()).await.unwrap();
    browser.press("Save and test").await.unwrap();
    browser.sees(&["Passed", "Resolve", "Connect", "Role shop is in database shop.", "PostgreSQL 1"]).await.unwrap();
    browser.reads("no failed step", |text| !text.contains("Failed") && !text.contains('✗')).await.unwrap();

    browser.press("Discover tables").await.unwrap();
    browser.sees(&["shop.customers", "shop.orders", "2 tables, discovered"]).await.unwrap();
    browser.sees_cell("shop.orders", "Columns", "3").await.unwrap();
}

async fn makes_the_target(browser: &Browser, target: &Cluster) {
    fills_in_an_endpoint(browser, "The copy", "Target", (target, TARGET), target.password()).await;
    browser.sees(&["The copy", "Passed", "Role shop_copy is in database shop_copy."]).await.unwrap();
}

async fn makes_a_task_and_sees_its_mapping(browser: &Browser) {
    browser.open("/tasks/new").await.unwrap();
    browser.fill("Name", "shop-to-copy").await.unwrap();
    browser.choose("What it does", "Load and follow").await.unwrap();
    browser.choose("Source", "The shop").await.unwrap();
    browser.choose("Target", "The copy").await.unwrap();
    browser.choose("Target tables before the load", "Drop and make again").await.unwrap();

    let mapping = "Mapping, as JSON";
    browser.fill(mapping, &MAPPING.replace("\"rename\"", "\"renamed\"")).await.unwrap();
    browser.sees(&["Rule 2, rule-action", "renamed"]).await.unwrap();
    browser.fill(mapping, "{\"rules\": [").await.unwrap();
    browser.sees(&["Not JSON: line 1"]).await.unwrap();
    browser.fill(mapping, MAPPING).await.unwrap();
    browser.sees(&["2 of 2 tables", "shop.orders → copied.orders", "shop.customers → copied.customers"]).await.unwrap();

    browser.press("Create and start").await.unwrap();
    browser.sees(&["shop-to-copy", "Load and follow", "epoch 1"]).await.unwrap();
}

async fn sees_it_become_live_and_follow(browser: &Browser, pair: &Pair) {
    browser.mark().await.unwrap();
    browser.sees_cell("shop.orders", "State", "Live").await.unwrap();
    browser.sees_cell("shop.customers", "State", "Live").await.unwrap();
    browser.sees(&["Running", "bookmark 0/"]).await.unwrap();
    assert!(browser.cell("shop.orders", "Rows loaded").await.unwrap().unwrap().starts_with("100"));

    let source = pair.source_client().await.unwrap();
    let changes = "insert into shop.orders select n, 1, 'new' from generate_series(101, 105) n;
        update shop.orders set note = 'changed' where id <= 7; delete from shop.orders where id = 50";
    source.batch_execute(changes).await.unwrap();
    for (column, changes) in [("Inserts", "5"), ("Updates", "7"), ("Deletes", "1")] {
        browser.sees_cell("shop.orders", column, changes).await.unwrap();
    }
    let target = pair.target_client().await.unwrap();
    let copied = target.query_one("select count(*) from copied.orders where note in ('new', 'changed')", &[]);
    assert_eq!(copied.await.unwrap().get::<_, i64>(0), 12);
    assert!(browser.is_marked().await.unwrap(), "the page was loaded anew");
}

async fn sees_a_conflict(browser: &Browser, pair: &Pair) {
    let by_hand = "insert into copied.orders values (200, 1, 'by hand')";
    pair.target_client().await.unwrap().batch_execute(by_hand).await.unwrap();
    let at_the_source = "insert into shop.orders values (200, 1, 'of the source')";
    pair.source_client().await.unwrap().batch_execute(at_the_source).await.unwrap();
    let card = [
        "Table shop.orders is parked, 1 other goes on",
        "key (id)",
        "23505",
        "Its changes are not kept while it is parked",
        "Reload table…",
        "Degraded",
    ];
    browser.sees(&card).await.unwrap();
    browser.sees_cell("shop.orders", "State", "Parked").await.unwrap();
    browser.sees_cell("shop.customers", "State", "Live").await.unwrap();
    let shown = browser.text().await.unwrap();
    assert!(!shown.contains("of the source") && !shown.contains("by hand"), "a row's value is shown: {shown}");
    assert!(browser.is_marked().await.unwrap(), "the page was loaded anew");

    let task = browser.path().await.unwrap();
    browser.open("/").await.unwrap();
    browser.sees(&["1 task · 1 needs you", "shop-to-copy: table shop.orders is parked"]).await.unwrap();
    browser.open("/events").await.unwrap();
    browser.sees(&["table shop.orders", "23505", "shop-to-copy"]).await.unwrap();
    browser.open(&task).await.unwrap();
}

async fn reloads_the_table(browser: &Browser, pair: &Pair) {
    browser.press("Reload table…").await.unwrap();
    browser.sees(&["Load shop.orders again?", "The other tables are followed meanwhile", "Cancel"]).await.unwrap();
    browser.press("Reload table").await.unwrap();
    browser.reads("no problem", |text| text.contains("Running") && !text.contains("parked")).await.unwrap();
    browser.sees_cell("shop.orders", "State", "Live").await.unwrap();
    browser.press("Drain").await.unwrap();
    browser.sees(&["Safe to switch."]).await.unwrap();
    let target = pair.target_client().await.unwrap();
    let note = target.query_one("select note from copied.orders where id = 200", &[]).await.unwrap();
    assert_eq!(note.get::<_, &str>(0), "of the source");
}

async fn stops_and_loads_all_again(browser: &Browser, pair: &Pair) {
    browser.press("Stop").await.unwrap();
    browser.sees(&["Stopped", "Resume"]).await.unwrap();
    browser.press("Reload all…").await.unwrap();
    let asks = ["Load all of shop-to-copy again?", "Its slot in The shop is dropped and made again", "Cancel"];
    browser.sees(&asks).await.unwrap();
    browser.press("Cancel").await.unwrap();
    browser.sees(&["Stopped", "Tables, worst first"]).await.unwrap();
    browser.press("Reload all…").await.unwrap();
    browser.press("Reload all").await.unwrap();
    browser.sees(&["Running"]).await.unwrap();
    browser.sees_cell("shop.orders", "State", "Live").await.unwrap();
    browser.reads("no problem", |text| !text.contains("parked")).await.unwrap();
    let target = pair.target_client().await.unwrap();
    let note = target.query_one("select note from copied.orders where id = 200", &[]).await.unwrap();
    assert_eq!(note.get::<_, &str>(0), "of the source");
}

/// Takes the README's picture, and some to look at beside it in a folder of their own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes docs/task.png: cargo test --package wavemark-tests --test e2e -- --ignored --nocapture pictures"]
async fn pictures_of_a_live_task() {
    let world = World::with_shop().await;
    let task = world.replicate(shop::SCHEMA, &serde_json::json!({})).await;
    world.live(task).await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    let browser = logged_in(&world.installation).await;
    browser.open(&format!("/tasks/{task}")).await.unwrap();
    // So that the charts have a course.
    for (number, per_second) in [40.0, 90.0, 60.0, 140.0, 70.0, 110.0].into_iter().enumerate() {
        writers.start(Pace { sessions: 4, per_second, seed: 10 * number as u64 });
        tokio::time::sleep(Duration::from_secs(14)).await;
        if number < 5 {
            writers.stop().await.unwrap();
        }
    }
    let height = browser.height().await.unwrap();
    browser.size(1400, height).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    browser.picture(&repository().join("docs/task.png")).await.unwrap();
    let compare = a_comparison_with_differences(&world, task).await;
    let folder = std::env::temp_dir().join("wavemark-pictures");
    fs::create_dir_all(&folder).unwrap();
    let pages = [
        ("task", format!("/tasks/{task}")),
        ("tables", format!("/tasks/{task}?tab=tables")),
        ("reload-table", format!("/tasks/{task}/tables/reload?schema=shop&table=orders")),
        ("compare", format!("/compares/{compare}")),
        ("compares", format!("/tasks/{task}?tab=compares")),
        ("overview", "/".to_owned()),
        ("events", "/events".to_owned()),
        ("endpoint-new", "/endpoints/new".to_owned()),
    ];
    for (width, height) in [(1400, 1000), (400, 2400)] {
        browser.size(width, height).await.unwrap();
        for (name, path) in &pages {
            browser.open(path).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!(browser.overflow().await.unwrap(), 0, "{name} is wider than {width} pixels");
            browser.picture(&folder.join(format!("{name}-{width}.png"))).await.unwrap();
        }
    }
    println!("docs/task.png, and more in {}", folder.display());
    writers.stop().await.unwrap();
    browser.close().await.unwrap();
}

/// Damages a table behind the task's back, leaves another behind, and compares.
async fn a_comparison_with_differences(world: &World, task: Uuid) -> String {
    let damage = "set session_replication_role = replica; delete from shop.categories where id in (7, 8);
        update shop.categories set name = name || ' ' where id = 9; insert into shop.categories (id, name, slug) values (-1, 'x', 'x')";
    world.target(damage).await;
    let api = &world.installation.api;
    api.ask_of_tables(task, "park", &[("shop", "orders")]).await.unwrap();
    world.status(task, "degraded").await;
    let path = format!("/tasks/{task}/compares");
    let asked: Value = api.call(reqwest::Method::POST, &path, Some(&serde_json::json!({}))).await.unwrap();
    let compare = asked["id"].as_str().unwrap().to_owned();
    let path = format!("/compares/{compare}");
    until(|| async { api.get::<Value>(&path).await.unwrap()["state"] == "done" }).await;
    compare
}

pub(crate) async fn logged_in(installation: &Installation) -> Browser {
    let browser = Browser::start(installation.api.base()).await.unwrap();
    browser.open("/login").await.unwrap();
    browser.fill("Name", ADMIN).await.unwrap();
    browser.fill("Password", installation.password()).await.unwrap();
    browser.press("Log in").await.unwrap();
    browser.sees(&["Tasks, worst first"]).await.unwrap();
    browser
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
