//! Secrets and row values that nothing else could hold are planted, a task meets everything that goes wrong, and then
//! every place that a person or a program can look into is searched for them: secrets are nowhere, and row values
//! nowhere but in the target's tables and, as keys, in `wavemark.exceptions`.
//!
//! All processes log at `debug`. The databases' own logs are the business of whoever runs them.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::cluster::{Authority, Cluster, Options};
use wavemark_tests::installation::ADMIN;
use wavemark_tests::pair::{self, SOURCE, TARGET};

use crate::world::{World, until};

/// The beginning of every text value of the source's rows; the marks in numbers and bytes are below.
const TEXT: &str = "rowcanary";
const NUMBER: i64 = 7_340_917_265_340_917;
/// `rowcanary` as bytes, as PostgreSQL writes them.
const BYTES: &str = "726f7763616e617279";
/// The beginning of every key.
const KEY: &str = "keycanary";

/// What must be found where it belongs, so that a search that finds nothing has looked.
const NAMED: &str = "The shop with canaries";

struct Secret {
    what: &'static str,
    text: String,
}

/// A place that was read whole.
struct Place {
    name: String,
    text: String,
}

fn secret(what: &'static str, text: impl Into<String>) -> Secret {
    let secret = Secret { what, text: text.into() };
    assert!(secret.text.len() >= 16, "{what} is too short to be searched for");
    secret
}

impl Secret {
    /// The forms in which it could have come somewhere.
    fn forms(&self) -> Vec<String> {
        let decoded = STANDARD.decode(&self.text).ok();
        let encoded = STANDARD.encode(&self.text);
        let list = format!("{:?}", self.text.as_bytes());
        [
            self.text.clone(),
            encoded.trim_end_matches('=').to_owned(),
            URL_SAFE_NO_PAD.encode(&self.text),
            hex(self.text.as_bytes()),
            list,
        ]
        .into_iter()
        .chain(decoded.as_deref().map(hex))
        .collect()
    }
}

/// As PostgreSQL writes bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_row_value_is_anywhere_that_it_does_not_belong() {
    let authority = Authority::make().unwrap();
    let target = Options { tls: Some(&authority), ..Options::default() };
    let mut world = World::start_with(Options::source(), target).await;
    let mut secrets = plant_server_secrets(&mut world).await;
    let task = prepare(&world, &authority, &mut secrets).await;
    live_through(&mut world, task).await;

    let places = everything(&world, task, &secrets).await;
    assert!(places.len() >= 50, "only {} places were searched", places.len());
    for whole in ["server.log", "worker-2.log", "GET /api/v1/endpoints", "metadata dump", "GET /tasks/"] {
        assert!(places.iter().any(|place| place.name.contains(whole)), "{whole} was not searched");
    }
    assert!(places.iter().filter(|place| place.text.contains(NAMED)).count() >= 5, "the places hold nothing");
    for place in &places {
        for secret in &secrets {
            for form in secret.forms() {
                assert!(!place.text.contains(&form), "{} is in {}{}", secret.what, place.name, around(place, &form));
            }
        }
        let number = NUMBER.to_string();
        let list = format!("{:?}", TEXT.as_bytes());
        for value in [TEXT, KEY, BYTES, &number, &STANDARD.encode(TEXT), list.trim_matches(['[', ']'])] {
            assert!(!place.text.contains(value), "a row's {value} is in {}{}", place.name, around(place, value));
        }
    }
    where_they_belong(&world).await;
}

fn around(place: &Place, found: &str) -> String {
    let at = place.text.find(found).unwrap_or_default();
    let from = place.text[..at].char_indices().rev().take(300).last().map_or(at, |(at, _)| at);
    format!(":\n…{}…", place.text[from..].chars().take(700).collect::<String>())
}

/// Gives the server secrets that are known here, and logs that hide nothing.
async fn plant_server_secrets(world: &mut World) -> Vec<Secret> {
    let (jwt, key) = (Uuid::new_v4().to_string(), STANDARD.encode(rand::random::<[u8; 32]>()));
    let installation = &mut world.installation;
    installation.server.kill().unwrap();
    installation.server.set_env("WAVEMARK_JWT_SECRET", &jwt);
    installation.server.set_env("WAVEMARK_KEYS", format!("canary:{key}"));
    installation.server.set_env("RUST_LOG", "debug");
    installation.server.start().unwrap();
    installation.api.wait_ready(Duration::from_secs(20)).await.unwrap();
    installation.workers[0].kill().unwrap();
    let made: Value =
        installation.api.call(Method::POST, "/worker-tokens", Some(&json!({"name": "canary"}))).await.unwrap();
    let worker_token = made["token"].as_str().unwrap().to_owned();
    installation.add_worker_with(&[("WAVEMARK_WORKER_TOKEN", &worker_token), ("RUST_LOG", "debug")]).unwrap();
    vec![
        secret("the JWT secret", jwt),
        secret("the key that seals secrets", key),
        secret("a worker's token", worker_token),
        secret("the admin's password", installation.password()),
        secret("the metadata database's password", installation.metadata.password()),
    ]
}

/// Users, tokens, sessions, endpoints with every kind of secret, and a task on tables that have something to refuse.
async fn prepare(world: &World, authority: &Authority, secrets: &mut Vec<Secret>) -> Uuid {
    let api = &world.installation.api;
    let users_password = format!("password-{}", Uuid::new_v4());
    let user = json!({"name": "ann", "password": users_password, "role": "operator"});
    let http = reqwest::Client::new();
    let url = |path: &str| format!("{}/api/v1{path}", api.base());
    let login =
        |name: &str, password: &str| http.post(url("/auth/login")).json(&json!({"name": name, "password": password}));
    let answer = login(ADMIN, world.installation.password()).send().await.unwrap();
    let admin: Value = answer.json().await.unwrap();
    // With an idempotency key, for what is kept of the request.
    let request = http.post(url("/users")).bearer_auth(admin["access_token"].as_str().unwrap());
    let made = request.header("idempotency-key", "once").json(&user).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let wrong = format!("mistyped-{}", Uuid::new_v4());
    assert_eq!(login("ann", &wrong).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // Somebody types the password where the name belongs.
    assert_eq!(login(&users_password, "ann").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let ann: Value = login("ann", &users_password).send().await.unwrap().json().await.unwrap();
    let token: Value = api.call(Method::POST, "/tokens", Some(&json!({"name": "ci", "role": "admin"}))).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    secrets.extend([
        secret("a user's password", users_password),
        secret("a mistyped password", wrong),
        secret("an API token", text(&token["token"])),
        secret("an access token", text(&ann["access_token"])),
        secret("a refresh token", text(&ann["refresh_token"])),
    ]);

    let (certificate, key) = authority.client(TARGET).unwrap();
    let middle = key.lines().nth(2).unwrap().to_owned();
    let source = pair::settings(&world.pair.source, SOURCE, SOURCE);
    let mut settings = pair::settings(&world.pair.target, TARGET, TARGET);
    settings["tls_mode"] = json!("verify-full");
    settings["tls_ca"] = json!(authority.certificate().unwrap());
    settings["tls_client_certificate"] = json!(certificate);
    let (from, to) = (&world.pair.source, &world.pair.target);
    let reading = api.create_endpoint(NAMED, "source", &source, from.password()).await.unwrap();
    let body = json!({"name": "The copy", "engine": "postgresql", "role": "target", "settings": settings,
        "secrets": {"password": to.password(), "tls_client_key": key}});
    let writing: Value = api.call(Method::POST, "/endpoints", Some(&body)).await.unwrap();
    let wrong = format!("wrong-{}", Uuid::new_v4());
    let refused = api.create_endpoint("Wrong", "source", &source, &wrong).await.unwrap();
    assert_eq!(api.test_endpoint(refused).await.unwrap().outcome.unwrap()["steps"][3]["passed"], false);
    secrets.extend([
        secret("the source's password", from.password()),
        secret("the target's password", to.password()),
        secret("a wrong password of an endpoint", wrong),
        secret("a client's private key", middle),
    ]);
    api.discover(reading).await.unwrap();
    make_tables(world).await;
    let settings = json!({"data_errors": "log-error", "chunk_mib": 1});
    let endpoints = (reading, writing["id"].as_str().unwrap().parse().unwrap());
    let rules = pair::whole_schema("public");
    api.create_task("Canaries", "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap()
}

/// Tables whose copies refuse what the source holds: at the load, and while it is followed.
async fn make_tables(world: &World) {
    let shape = "(id text primary key, secret text, number bigint, bytes bytea, doc jsonb)";
    for table in ["good", "checked", "unique_too", "triggered", "coded", "diverged", "loaded"] {
        world.source(&format!("create table {table} {shape}")).await;
        let rows = "select 'keycanary-' || n, 'rowcanary-' || n, 7340917265340917, '\\x726f7763616e617279',
                    jsonb_build_object('rowcanary', n) from generate_series(1, 50) n";
        world.source(&format!("insert into {table} {rows}")).await;
    }
    for table in ["checked", "unique_too", "triggered", "coded"] {
        world.target(&format!("create table {table} {shape}")).await;
    }
    // This one is parked by its load.
    world.target(&format!("create table loaded {shape}")).await;
    let raising = |name: &str, code: &str| {
        format!(
            "create function {name}() returns trigger language plpgsql as $$ begin
               if new.secret like '%bad' then
                 raise exception 'refused %', new.secret using errcode = '{code}', detail = new.secret, hint = new.id;
               end if; return new; end $$"
        )
    };
    world.target(&raising("refuse", "P0001")).await;
    world.target(&raising("refuse_by_code", "ZZ001")).await;
    world
        .target(
            "alter table checked add check (secret not like '%bad');
             alter table loaded add check (secret not like '%50');
             alter table unique_too add unique (secret);
             create trigger t before insert or update on triggered for each row execute function refuse();
             alter table triggered enable always trigger t;
             create trigger t before insert or update on coded for each row execute function refuse_by_code();
             alter table coded enable always trigger t",
        )
        .await;
}

/// Load, follow, errors of data, a crash of the worker and of both databases, a stop and a drain.
async fn live_through(world: &mut World, task: Uuid) {
    let api = &world.installation.api;
    api.assess(task).await.unwrap();
    api.act(task, "start").await.unwrap();
    let settled = |tables: &[wavemark_tests::api::Table]| {
        tables.len() == 7 && tables.iter().all(|table| matches!(table.state.as_str(), "live" | "parked"))
    };
    until(|| async { settled(&api.tables(task).await.unwrap_or_default()) }).await;
    let tables = api.tables(task).await.unwrap();
    let parked = tables.iter().find(|table| table.source.table == "loaded").unwrap();
    assert_eq!(parked.state, "parked", "the load met a row that the target refuses: {parked:?}");

    world.target("delete from diverged where id = 'keycanary-7'").await;
    for sql in [
        "update good set secret = 'rowcanary-changed' where id = 'keycanary-1'",
        "insert into checked values ('keycanary-bad', 'rowcanary-bad', 7340917265340917, null, null)",
        "insert into unique_too values ('keycanary-bad', 'rowcanary-1', 7340917265340917, null, null)",
        "insert into triggered values ('keycanary-bad', 'rowcanary-bad', 7340917265340917, null, null)",
        "update diverged set secret = 'rowcanary-changed' where id = 'keycanary-7'",
    ] {
        world.source(sql).await;
    }
    let exceptions = "select count(*)::text from wavemark.exceptions";
    until(|| async { world.target_value(exceptions).await.as_deref() == Some("4") }).await;

    world.installation.workers[1].kill().unwrap();
    world.pair.source.stop(wavemark_tests::cluster::Mode::Immediate).unwrap();
    world.installation.workers[1].start().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.pair.source.restart().unwrap();
    world.source("update good set secret = 'rowcanary-after' where id = 'keycanary-2'").await;
    let arrived = "select count(*)::text from good where secret = 'rowcanary-after'";
    until(|| async { world.target_value(arrived).await.as_deref() == Some("1") }).await;
    // A code that is in no manual stops the task: nobody knows what it means.
    world.source("insert into coded values ('keycanary-bad', 'rowcanary-bad', 7340917265340917, null, null)").await;
    until(|| async { world.installation.api.task(task).await.is_ok_and(|task| task.problem.is_some()) }).await;
}

/// Every log, answer, page, figure and dump.
async fn everything(world: &World, task: Uuid, secrets: &[Secret]) -> Vec<Place> {
    let mut places = Vec::new();
    files(world.installation.logs(), &mut places);
    places.push(dump("metadata dump", &world.installation.metadata, &["postgres"]));
    let ours = ["--schema=wavemark", "--exclude-table-data=wavemark.exceptions", TARGET];
    places.push(dump("dump of the target's schema wavemark", &world.pair.target, &ours));
    let slots = "select string_agg(row_to_json(s)::text, ' ') from pg_replication_slots s";
    let row = world.pair.source.connect("postgres").await.unwrap().query_one(slots, &[]).await.unwrap();
    places.push(Place { name: "the source's slots".to_owned(), text: row.get(0) });
    let token = secrets.iter().find(|secret| secret.what == "an API token").unwrap();
    answers(world, task, &token.text, &mut places).await;
    places
}

fn files(folder: &Path, places: &mut Vec<Place>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, places);
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            places.push(Place { name: path.file_name().unwrap().to_string_lossy().into_owned(), text });
        }
    }
}

fn dump(name: &str, cluster: &Cluster, arguments: &[&str]) -> Place {
    let output = cluster.program("pg_dump").args(["--inserts"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Place { name: name.to_owned(), text: String::from_utf8(output.stdout).unwrap() }
}

/// What the API says to every GET and to some refusals, and every page.
async fn answers(world: &World, task: Uuid, token: &str, places: &mut Vec<Place>) {
    let http = reqwest::Client::new();
    let base = world.installation.api.base();
    let ask = async |path: String| {
        let answer = http.get(format!("{base}{path}")).bearer_auth(token).send().await.unwrap();
        let head = format!("{:?}", answer.headers());
        (
            answer.status(),
            Place { name: format!("GET {path}"), text: format!("{head}\n{}", answer.text().await.unwrap()) },
        )
    };
    let list = async |path: &str| -> Vec<String> {
        let page: Value = world.installation.api.get(path).await.unwrap();
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, document) = ask("/api/openapi.json".to_owned()).await;
    let document: Value = serde_json::from_str(document.text.split_once('\n').unwrap().1).unwrap();
    let mut paths = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if item.get("get").is_none() {
            continue;
        }
        let ids = match path {
            path if path.contains("/endpoints/{id}") => list("/endpoints").await,
            path if path.contains("/tasks/{id}") => vec![task.to_string()],
            path if path.contains("/{id}") => Vec::new(),
            _ => vec![String::new()],
        };
        paths.extend(ids.iter().map(|id| format!("{}?limit=500", path.replace("{id}", id))));
    }
    for tab in ["now", "tables", "errors", "history", "mapping"] {
        paths.push(format!("/tasks/{task}?tab={tab}"));
    }
    for page in ["", "/edit", "/points", "/reload", "/delete"] {
        paths.push(format!("/tasks/{task}{page}"));
    }
    for endpoint in list("/endpoints").await {
        paths.extend(["", "/edit", "/delete"].map(|page| format!("/endpoints/{endpoint}{page}")));
    }
    for page in
        ["/", "/tasks", "/tasks/new", "/endpoints", "/endpoints/new", "/workers", "/events", "/metrics", "/login"]
    {
        paths.push(page.to_owned());
    }
    for path in paths {
        let (status, place) = ask(path.clone()).await;
        let undiscovered = path.contains("/tables?") && status == StatusCode::NOT_FOUND;
        assert!(status.is_success() || undiscovered, "{path}: {status}");
        places.push(place);
    }
    // Refusals repeat what was wrong, and must not repeat what is secret.
    for body in [json!({"name": "x", "password": {"a": 1}}), json!({"name": ADMIN, "password": "", "more": token})] {
        let answer = http.post(format!("{base}/api/v1/auth/login")).json(&body).send().await.unwrap();
        places.push(Place { name: "POST /api/v1/auth/login".to_owned(), text: answer.text().await.unwrap() });
    }
}

/// The rows are in the target, and the keys of those that were left out in the exceptions, so that the search above
/// would have found them elsewhere.
async fn where_they_belong(world: &World) {
    let rows = dump("rows", &world.pair.target, &["--schema=public", TARGET]).text;
    assert!(rows.contains("rowcanary-50") && rows.contains(&NUMBER.to_string()) && rows.contains(BYTES));
    let exceptions = dump("exceptions", &world.pair.target, &["--table=wavemark.exceptions", TARGET]).text;
    assert!(exceptions.contains("keycanary-bad") && exceptions.contains("keycanary-7"), "{exceptions}");
    let codes = "select string_agg(code, ' ' order by id) from wavemark.exceptions";
    assert_eq!(world.target_value(codes).await.as_deref(), Some("23514 23505 P0001 WM002"));
    // Of the other columns not even the exceptions have anything.
    assert!(!exceptions.contains(TEXT), "{exceptions}");
}
