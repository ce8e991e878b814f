//! The pages by plain HTTP, as a browser without scripts uses them: links, forms, redirects.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::support::{PASSWORD, Server, start, start_with};

/// A browser: keeps cookies, follows redirects, says that its posts come from the same site.
struct Browser<'a> {
    server: &'a Server,
    client: Client,
}

struct Seen {
    status: StatusCode,
    path: String,
    html: String,
}

impl<'a> Browser<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, client: Client::builder().cookie_store(true).build().unwrap() }
    }

    async fn logged_in(server: &'a Server, name: &str, password: &str) -> Self {
        let browser = Self::new(server);
        let seen = browser.post("/login", &[("name", name), ("password", password), ("next", "/")]).await;
        assert_eq!((seen.status, seen.path.as_str()), (StatusCode::OK, "/"), "{}", seen.html);
        browser
    }

    async fn get(&self, path: &str) -> Seen {
        Self::seen(self.client.get(format!("{}{path}", self.server.url)).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Seen {
        let body: Vec<_> = form.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let request = self.client.post(format!("{}{path}", self.server.url)).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body.join("&"));
        Self::seen(request.send().await.unwrap()).await
    }

    async fn seen(response: reqwest::Response) -> Seen {
        let (status, path) = (response.status(), response.url().path().to_owned());
        Seen { status, path, html: response.text().await.unwrap() }
    }
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Seen {
    #[track_caller]
    fn shows(&self, text: &str) -> &Self {
        assert!(self.html.contains(text), "{} does not show {text:?}:\n{}", self.path, self.html);
        self
    }

    #[track_caller]
    fn hides(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "{} shows {text:?}:\n{}", self.path, self.html);
        self
    }
}

const MAPPINGS: &str = r#"{"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
    "object-locator": {"schema-name": "shop", "table-name": "%"}}]}"#;

#[tokio::test]
async fn who_is_not_logged_in_is_sent_to_the_log_in_and_back() {
    let server = start().await;
    let browser = Browser::new(&server);
    for path in ["/", "/tasks", "/tasks/new", "/endpoints", "/workers", "/events", "/endpoints/new"] {
        let seen = browser.get(path).await;
        assert_eq!((seen.status, seen.path.as_str()), (StatusCode::OK, "/login"), "{path}");
    }
    for path in ["/live", "/tasks/live", "/workers/live"] {
        assert_eq!(browser.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let wrong = browser.post("/login", &[("name", "admin"), ("password", "wrong"), ("next", "/events")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    wrong.shows("The name or the password is wrong.").shows("value=\"admin\"").hides("value=\"wrong\"");
    let right = browser.post("/login", &[("name", "admin"), ("password", PASSWORD), ("next", "/events")]).await;
    assert_eq!(right.path, "/events");
    browser.post("/logout", &[]).await;
    assert_eq!(browser.get("/events").await.path, "/login");
}

#[tokio::test]
async fn the_first_run_takes_the_code_that_the_server_printed() {
    use secrecy::ExposeSecret as _;
    let server = start_with(|config| config.admin_password = None).await;
    let code = server.running.first_run_code.as_ref().unwrap().expose_secret().to_owned();
    let browser = Browser::new(&server);
    assert_eq!(browser.get("/").await.path, "/first-run");
    let wrong = browser.post("/first-run", &[("code", "x"), ("name", "ann"), ("password", PASSWORD)]).await;
    wrong.shows("The code is wrong.").shows("value=\"ann\"").hides(PASSWORD);
    let short = browser.post("/first-run", &[("code", &code), ("name", "ann"), ("password", "short")]).await;
    short.shows("A password has 10 to 1000 characters.");
    let made = browser.post("/first-run", &[("code", &code), ("name", "ann"), ("password", PASSWORD)]).await;
    assert_eq!(made.path, "/");
    made.shows("Start with two endpoints").shows(">ann<");
}

#[tokio::test]
async fn forms_alone_lead_from_nothing_to_a_running_task_and_back() {
    let server = start().await;
    let browser = Browser::logged_in(&server, "admin", PASSWORD).await;

    let form = browser.get("/endpoints/new").await;
    form.shows("name=\"host\"").shows("type=\"password\"");
    let wrong = [
        ("engine", "postgresql"),
        ("name", "shop"),
        ("role", "source"),
        ("host", "db1"),
        ("port", "99999"),
        ("password", "correct horse"),
    ];
    let wrong = browser.post("/endpoints/new", &wrong).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    wrong
        .shows("must be a whole number from 1 to 65535")
        .shows("value=\"99999\"")
        .shows("value=\"db1\"")
        .hides("correct horse");
    let fields = [
        ("engine", "postgresql"),
        ("name", "shop"),
        ("role", "source"),
        ("host", "db1"),
        ("port", "5433"),
        ("password", "correct horse"),
    ];
    let source = browser.post("/endpoints/new", &fields).await;
    source.shows("db1:5433").shows("set, never shown").hides("correct horse").shows("Not tested");
    let source_id = source.path.rsplit('/').next().unwrap().to_owned();
    let fields = [("engine", "postgresql"), ("name", "lake"), ("role", "target"), ("host", "db2"), ("do", "test")];
    let target = browser.post("/endpoints/new", &fields).await;
    target.shows("Waiting for a worker to take the test");
    let target_id = target.path.rsplit('/').next().unwrap().to_owned();

    browser.get("/tasks/new").await.shows(&source_id).shows(&target_id);
    let bad = MAPPINGS.replace("include", "inclode");
    let task = |mappings, go| {
        [
            ("name", "shop-to-lake"),
            ("kind", "full-load-and-cdc"),
            ("source", &*source_id),
            ("target", &*target_id),
            ("mappings", mappings),
            ("load_parallelism", "7"),
            ("do", go),
        ]
    };
    browser
        .post("/tasks/new", &task(&bad, ""))
        .await
        .shows("Rule 1, rule-action")
        .shows("inclode")
        .shows("value=\"7\"");
    let made = browser.post("/tasks/new", &task(MAPPINGS, "start")).await;
    made.shows("<h1>shop-to-lake</h1>").shows("Starting").shows("The way of the data");

    let worker = server.register().await;
    let lease = server.poll(&worker).await["leases"][0].clone();
    assert_eq!(lease["settings"]["load_parallelism"], 7);
    let name = json!({"schema": "shop", "table": "orders"});
    let table = json!({"table": name, "target": name, "state": "parked", "rows_estimated": 1200, "rows_loaded": 1204, "bytes_loaded": 9000,
        "chunks": 4, "chunks_done": 4, "chunks_read": 4, "rows_refetched": 0, "inserts": 5, "updates": 1, "deletes": 0, "truncates": 0, "exceptions": 0,
        "applied_commit_at": null, "problem": {"fault": "data", "code": "row-exists", "text": "a row to insert is already in the target", "server_code": "23505"}});
    let progress = json!({"phase": "following", "lag_ms": 1400, "bookmark": "0/1A2B", "log_kept_bytes": 3_145_728, "tables": [table]});
    server.report(&worker, &lease, json!({"is": "running"}), progress).await;
    let task = browser.get(&made.path).await;
    task.shows("Degraded")
        .shows("Table shop.orders is parked")
        .shows("23505")
        .shows("1.4\u{202f}s behind the source")
        .shows("bookmark 0/1A2B");
    browser.get("/").await.shows("1 task · 1 needs you").shows("shop-to-lake: table shop.orders is parked");
    browser.get(&format!("{}?tab=history", made.path)).await.shows("The load began.");
    browser
        .get(&format!("{}?tab=mapping", made.path))
        .await
        .shows("as the worker planned them")
        .shows("Load parallelism");
    browser.get("/tasks?text=LAKE").await.shows("shop-to-lake");
    browser.get("/tasks?text=nothing").await.shows("No such task");
    browser.get("/workers").await.shows("Alive").shows("shop-to-lake");
    browser.get("/events?severity=warning").await.hides("The load began.");

    let busy = browser.post(&format!("{}/reload", made.path), &[]).await;
    assert_eq!(busy.status, StatusCode::CONFLICT);
    busy.shows("it can&#39;t be started now").shows("<h1>shop-to-lake</h1>");
    browser.post(&format!("{}/stop", made.path), &[]).await.shows("Stopping");
    server.report(&worker, &lease, json!({"is": "stopped"}), json!({"phase": "following"})).await;
    browser.get(&made.path).await.shows("Stopped").shows("Resume");
    browser.get(&format!("{}/reload", made.path)).await.shows("Its slot in shop is dropped");
    let unsure = browser.post(&format!("{}/delete", made.path), &[("name", "shop")]).await;
    unsure.shows("This is not its name.");
    browser.post(&format!("{}/delete", made.path), &[("name", "shop-to-lake")]).await.shows("Deleting");
}

#[tokio::test]
async fn the_live_part_comes_again_when_it_changes_and_ends_with_the_server() {
    let server = start().await;
    let browser = Browser::logged_in(&server, "admin", PASSWORD).await;
    let mut stream = browser.client.get(format!("{}/workers/live", server.url)).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(stream.headers().get("content-encoding").is_none());
    let mut told = String::new();
    while !told.contains("No worker yet") {
        told.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    assert!(!told.contains("<html"), "{told}");
    server.register().await;
    while !told.contains("1 worker, 1 alive") || !told.contains("event: beat") {
        told.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    drop(server);
    let ends = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(Duration::from_secs(5), ends).await.expect("the stream ends with the server");
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing() {
    let server = start().await;
    let admin = server.admin().await;
    let task = admin.task("t").await;
    admin.post("/users", &json!({"name": "vic", "password": PASSWORD, "role": "viewer"})).await.expect(201);
    let browser = Browser::logged_in(&server, "vic", PASSWORD).await;
    browser.get(&format!("/tasks/{task}")).await.shows("<h1>t</h1>").hides("/start");
    for path in [format!("/tasks/{task}/start"), format!("/tasks/{task}/delete"), "/endpoints/new".to_owned()] {
        let seen = browser.post(&path, &[("name", "t")]).await;
        assert_eq!(seen.status, StatusCode::FORBIDDEN, "{path}");
        seen.shows("Not allowed");
    }
    assert_eq!(admin.status(&task).await, "ready");
}

#[tokio::test]
async fn what_is_not_there_has_a_page_that_says_so() {
    let server = start().await;
    let browser = Browser::logged_in(&server, "admin", PASSWORD).await;
    for path in
        ["/tasks/0192d6a0-0000-7000-8000-000000000000", "/nothing", "/endpoints/0192d6a0-0000-7000-8000-000000000000"]
    {
        let seen = browser.get(path).await;
        assert_eq!(seen.status, StatusCode::NOT_FOUND, "{path}");
        seen.shows("<h1>Not found</h1>");
    }
}

/// Serves two minutes of a busy task to whoever wants to look.
#[tokio::test]
#[ignore = "for looking: cargo test -p wavemark-server --test it -- --ignored --nocapture serves_for"]
async fn serves_for_someone_who_wants_to_look() {
    let server = start().await;
    let admin = server.admin().await;
    let task = admin.task("shop-to-analytics").await;
    admin.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    let worker = server.register().await;
    let lease = server.poll(&worker).await["leases"][0].clone();
    println!("look at {}/tasks/{task} as admin, {PASSWORD}", server.url);
    for second in 0..120_u64 {
        let table = |name: &str, state: &str, done: u64| {
            let name = json!({"schema": "public", "table": name});
            json!({"table": name, "target": name, "state": state, "rows_estimated": 90_000, "rows_loaded": done * 9_000, "bytes_loaded": done * 900_000,
                "chunks": 10, "chunks_done": done, "chunks_read": done, "rows_refetched": 0, "inserts": second * 700, "updates": second * 40,
                "deletes": 3, "truncates": 0, "exceptions": 0, "applied_commit_at": null, "problem": null})
        };
        let tables = [
            table("orders", "live", 10),
            table("order_items", "loading", (second / 6).min(9)),
            table("customers", "live", 10),
        ];
        let progress = json!({"phase": "following", "lag_ms": 300 + (second * 37) % 400, "bookmark": format!("0/{second:X}00"), "wave": second * 9,
            "log_kept_bytes": 3_145_728 + second * 100_000, "changes_read": second * 1_000 + (second * 77) % 500, "changes_written": second * 980, "tables": tables});
        server.report(&worker, &lease, json!({"is": "running"}), progress).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
