//! A real server on a real metadata database, and a client.

use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use wavemark_connector::spec::{FieldKind, FieldSpec, PositionSpec, Role, SettingsSpec};
use wavemark_server::{Running, ServerConfig};
use wavemark_store::crypt::Keyring;

use crate::cluster;

pub(crate) const PASSWORD: &str = "a good password";
pub(crate) const WORKER_TOKEN: &str = "wmw_test";

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) database_url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) running: Running,
    _stop: DropGuard,
}

/// The spec of a system of the tests' own.
pub(crate) fn spec() -> SettingsSpec {
    let field = |name, kind, required, secret| FieldSpec {
        name,
        label: name,
        kind,
        required,
        secret,
        default: None,
        doc: "A setting.",
    };
    SettingsSpec {
        engine: "postgresql",
        title: "PostgreSQL",
        role: Role::Both,
        positions: Some(PositionSpec {
            form: "a number like 16/B374D848",
            is_one: |text| text.contains('/'),
            check_start: |_| Ok(()),
        }),
        fields: vec![
            field("host", FieldKind::Text, true, false),
            field("port", FieldKind::Integer { min: 1, max: 65_535 }, false, false),
            field("tls", FieldKind::Choice { words: &["disable", "verify-full"] }, false, false),
            field("password", FieldKind::Text, false, true),
        ],
    }
}

pub(crate) fn config(database_url: &str) -> ServerConfig {
    ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        database_url: SecretString::from(database_url),
        database_connections: 8,
        keyring: Keyring::parse("k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap(),
        jwt_secret: None,
        public_url: None,
        specs: vec![spec()],
        worker_token: Some(SecretString::from(WORKER_TOKEN)),
        admin_password: Some(SecretString::from(PASSWORD)),
        tls: None,
    }
}

pub(crate) async fn start() -> Server {
    start_with(|_| {}).await
}

pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Server {
    let database_url = cluster::database().await;
    let mut config = config(&database_url);
    change(&mut config);
    wavemark_server::migrate(&config.database_url).await.unwrap();
    run(config, database_url).await
}

pub(crate) async fn run(config: ServerConfig, database_url: String) -> Server {
    let _ = rustls_provider();
    let shutdown = CancellationToken::new();
    let running = wavemark_server::start(config, shutdown.clone()).await.unwrap();
    let url = format!("http://{}", running.address);
    Server { url, database_url, client: reqwest::Client::new(), running, _stop: shutdown.drop_guard() }
}

fn rustls_provider() -> Result<(), std::sync::Arc<tokio_rustls::rustls::crypto::CryptoProvider>> {
    tokio_rustls::rustls::crypto::ring::default_provider().install_default()
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_else(|| panic!("no problem: {self:?}"))
    }

    pub(crate) fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, headers, body }
}

impl Server {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn login(&self, name: &str, password: &str) -> Answer {
        send(self.request(Method::POST, "/api/v1/auth/login").json(&json!({"name": name, "password": password}))).await
    }

    /// A client that is logged in as the admin.
    pub(crate) async fn admin(&self) -> Api<'_> {
        let body = self.login("admin", PASSWORD).await.expect(200);
        Api { server: self, token: body["access_token"].as_str().unwrap().to_owned() }
    }

    /// What a worker sends.
    pub(crate) async fn worker(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, &format!("/worker/v1{path}")).bearer_auth(WORKER_TOKEN);
        send(request.header("wavemark-protocol", "2.0").json(body)).await
    }

    pub(crate) async fn register(&self) -> String {
        let body = json!({"name": "w", "version": "1", "places": 4, "engines": ["postgresql"]});
        let answer = self.worker("/register", &body).await.expect(200);
        assert_eq!((&answer["lease_seconds"], &answer["report_millis"]), (&json!(10), &json!(1_000)));
        answer["worker"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn poll(&self, worker: &str) -> Value {
        let body = json!({"worker": worker, "free_places": 4, "wait_seconds": 0});
        self.worker("/poll", &body).await.expect(200)
    }

    pub(crate) async fn report(&self, worker: &str, lease: &Value, state: Value, progress: Value) -> Value {
        let body = json!({"worker": worker, "draining": false, "cpu_percent": 12.5, "memory_bytes": 1_000_000,
        "tasks": [{"task": lease["task"], "epoch": lease["epoch"], "state": state, "progress": progress, "events": [
            {"at": 1_700_000_000_000_000_i64, "severity": "info", "code": "load-started", "text": "The load began."},
        ]}]});
        self.worker("/report", &body).await.expect(200)["tasks"][0]["instruction"].clone()
    }
}

/// A client with a token.
pub(crate) struct Api<'a> {
    pub(crate) server: &'a Server,
    pub(crate) token: String,
}

impl Api<'_> {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.server.request(method, &format!("/api/v1{path}")).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, etag: &str, body: &Value) -> Answer {
        send(self.request(Method::PUT, path).header("if-match", etag).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, etag: &str) -> Answer {
        send(self.request(Method::DELETE, path).header("if-match", etag)).await
    }

    pub(crate) async fn endpoint(&self, name: &str) -> String {
        let body = json!({"name": name, "engine": "postgresql", "role": "both",
            "settings": {"host": "db.example"}, "secrets": {"password": "correct horse"}});
        self.post("/endpoints", &body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// A task on two new endpoints.
    pub(crate) async fn task(&self, name: &str) -> String {
        let (source, target) = (self.endpoint(&format!("{name}-s")).await, self.endpoint(&format!("{name}-t")).await);
        let body = task_input(name, &source, &target);
        self.post("/tasks", &body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn status(&self, task: &str) -> String {
        self.get(&format!("/tasks/{task}")).await.expect(200)["status"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn task_input(name: &str, source: &str, target: &str) -> Value {
    json!({"name": name, "kind": "full-load-and-cdc", "source_id": source, "target_id": target,
        "mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-action": "include",
            "object-locator": {"schema-name": "shop", "table-name": "%"}}]}})
}
