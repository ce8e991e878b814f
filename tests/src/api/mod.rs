//! A small typed client of the REST API. Every path is in this file and its shapes are in [`shapes`].

mod shapes;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

pub use shapes::{Event, Holder, Job, Page, Problem, Progress, Refusal, Table, TableName, Task, Unfit, Worker, lsn};

/// Whoever is logged in at one server.
pub struct Api {
    base: String,
    http: Client,
    name: String,
    password: String,
    token: Mutex<Option<String>>,
}

impl Api {
    /// A client that logs in when it first needs to, and again when its token has run out.
    ///
    /// # Errors
    /// The TLS library can't be set up.
    pub fn new(base: &str, name: &str, password: &str) -> Result<Self> {
        // A second call finds the provider in place, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http =
            Client::builder().timeout(Duration::from_secs(30)).connect_timeout(Duration::from_secs(5)).build()?;
        let (name, password) = (name.to_owned(), password.to_owned());
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http, name, password, token: Mutex::new(None) })
    }

    /// The same for a server whose certificate comes from this authority.
    ///
    /// # Errors
    /// The certificate can't be read.
    pub fn trusting(base: &str, name: &str, password: &str, authority: &str) -> Result<Self> {
        let mut api = Self::new(base, name, password)?;
        let authority = reqwest::Certificate::from_pem(authority.as_bytes())?;
        api.http = Client::builder().timeout(Duration::from_secs(30)).tls_certs_only([authority]).build()?;
        Ok(api)
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Waits until the server says that it is ready.
    ///
    /// # Errors
    /// It does not within the time.
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let answer = self.http.get(format!("{}/readyz", self.base)).send().await;
            match answer {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                _ if Instant::now() > end => bail!("the server at {} is not ready after {limit:?}", self.base),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Makes an endpoint and gives its id. `settings` are those of its system, `password` goes into its secrets.
    ///
    /// # Errors
    /// The server refuses ([`Refusal`]) or is not there. So for all that follow.
    pub async fn create_endpoint(&self, name: &str, role: &str, settings: &Value, password: &str) -> Result<Uuid> {
        self.create_endpoint_of("postgresql", name, role, settings, password).await
    }

    /// The same of another system.
    pub async fn create_endpoint_of(
        &self,
        engine: &str,
        name: &str,
        role: &str,
        settings: &Value,
        password: &str,
    ) -> Result<Uuid> {
        let body = json!({
            "name": name, "engine": engine, "role": role,
            "settings": settings, "secrets": {"password": password},
        });
        self.made("/endpoints", &body).await
    }

    /// Changes settings of an endpoint as it is now; its secrets stay.
    pub async fn change_endpoint(&self, id: Uuid, changes: &Value) -> Result<()> {
        let mut endpoint: Value = self.get(&format!("/endpoints/{id}")).await?;
        for (name, value) in changes.as_object().context("changes are an object")? {
            endpoint["settings"][name] = value.clone();
        }
        let field = |name: &str| endpoint[name].clone();
        let body = json!({
            "name": field("name"), "engine": field("engine"), "role": field("role"), "settings": field("settings"),
        });
        let request = self.http.put(self.url(&format!("/endpoints/{id}"))).header("if-match", "*").json(&body);
        self.send::<Value>(request).await.map(drop)
    }

    /// Has a worker test an endpoint and waits for the outcome.
    pub async fn test_endpoint(&self, id: Uuid) -> Result<Job> {
        self.job(&format!("/endpoints/{id}/test")).await
    }

    /// Has a worker discover an endpoint's tables and waits for the outcome.
    pub async fn discover(&self, id: Uuid) -> Result<Job> {
        self.job(&format!("/endpoints/{id}/discover")).await
    }

    /// The tables that the last discovery found.
    pub async fn endpoint_tables(&self, id: Uuid) -> Result<Value> {
        self.get(&format!("/endpoints/{id}/tables?limit=500")).await
    }

    /// Makes a task and gives its id.
    pub async fn create_task(
        &self,
        name: &str,
        kind: &str,
        (source, target): (Uuid, Uuid),
        rules: &Value,
        settings: &Value,
    ) -> Result<Uuid> {
        let body = json!({
            "name": name, "kind": kind, "source_id": source, "target_id": target,
            "mappings": {"rules": rules}, "settings": settings,
        });
        self.made("/tasks", &body).await
    }

    /// Gives a task that doesn't run other table mappings.
    pub async fn change_rules(&self, id: Uuid, rules: &Value) -> Result<()> {
        let task: Value = self.get(&format!("/tasks/{id}")).await?;
        let field = |name: &str| task[name].clone();
        let body = json!({
            "name": field("name"), "kind": field("kind"), "source_id": task["source"]["id"],
            "target_id": task["target"]["id"], "settings": field("settings"), "mappings": {"rules": rules},
        });
        let request = self.http.put(self.url(&format!("/tasks/{id}"))).header("if-match", "*").json(&body);
        self.send::<Value>(request).await.map(drop)
    }

    /// `start`, `resume`, `stop` or `reload`.
    pub async fn act(&self, task: Uuid, action: &str) -> Result<()> {
        self.call::<Value>(Method::POST, &format!("/tasks/{task}/{action}"), None).await.map(drop)
    }

    /// Asks for a drain; returns its number.
    pub async fn drain(&self, task: Uuid) -> Result<i64> {
        let asked: Value = self.call(Method::POST, &format!("/tasks/{task}/drain"), None).await?;
        asked["number"].as_i64().context("a drain has a number")
    }

    /// Asks for a `reload` or a `park` of single tables.
    pub async fn ask_of_tables(&self, task: Uuid, wish: &str, tables: &[(&str, &str)]) -> Result<()> {
        let named = |(schema, table): &(&str, &str)| json!({"schema": schema, "table": table});
        let body = json!({"tables": tables.iter().map(named).collect::<Vec<_>>()});
        self.call::<Value>(Method::POST, &format!("/tasks/{task}/tables/{wish}"), Some(&body)).await.map(drop)
    }

    /// Has a worker look for what stands in a task's way.
    pub async fn assess(&self, task: Uuid) -> Result<Job> {
        self.job(&format!("/tasks/{task}/assess")).await
    }

    /// Deletes a task as it is now.
    pub async fn delete_task(&self, task: Uuid) -> Result<()> {
        let request = self.http.delete(self.url(&format!("/tasks/{task}"))).header("if-match", "*");
        self.send::<Value>(request).await.map(drop)
    }

    /// One task.
    pub async fn task(&self, task: Uuid) -> Result<Task> {
        self.get(&format!("/tasks/{task}")).await
    }

    /// Its tables, up to 500.
    pub async fn tables(&self, task: Uuid) -> Result<Vec<Table>> {
        self.get::<Page<Table>>(&format!("/tasks/{task}/tables?limit=500")).await.map(|page| page.items)
    }

    /// Its newest events.
    pub async fn events(&self, task: Uuid) -> Result<Vec<Event>> {
        self.get::<Page<Event>>(&format!("/tasks/{task}/events?limit=200")).await.map(|page| page.items)
    }

    /// The workers that the server knows.
    pub async fn workers(&self) -> Result<Vec<Worker>> {
        self.get::<Page<Worker>>("/workers?limit=500").await.map(|page| page.items)
    }

    /// Any path below `/api/v1`, for what has no function of its own.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None).await
    }

    /// The HTML of a page.
    pub async fn page(&self, path: &str) -> Result<String> {
        let token = self.token().await?;
        let answer = self.http.get(format!("{}{path}", self.base)).bearer_auth(token).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Any method and path below `/api/v1`.
    pub async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&Value>) -> Result<T> {
        let request = self.http.request(method, self.url(path));
        let request = body.map_or_else(|| request.try_clone(), |body| Some(request.try_clone()?.json(body)));
        self.send(request.context("a request without a stream can be cloned")?).await
    }

    /// Asks for a task until `done` says so.
    ///
    /// # Errors
    /// It does not within the time; the text says how the task stood. An unreachable server is waited for.
    pub async fn wait_task(
        &self,
        task: Uuid,
        limit: Duration,
        what: &str,
        done: impl Fn(&Task) -> bool,
    ) -> Result<Task> {
        let end = Instant::now() + limit;
        loop {
            let stands = match self.task(task).await {
                Ok(task) if done(&task) => return Ok(task),
                Ok(task) => task.in_words(),
                Err(error) if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status < 500) => {
                    return Err(error);
                }
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > end {
                bail!("waited {limit:?} for {what}; the task: {stands}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn job(&self, path: &str) -> Result<Job> {
        let asked: Value = self.call(Method::POST, path, None).await?;
        let id = asked["job"].as_str().context("the server did not name the job")?.to_owned();
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let job: Job = self.get(&format!("/jobs/{id}")).await?;
            if job.status == "done" || job.status == "failed" {
                return Ok(job);
            }
            anyhow::ensure!(Instant::now() < end, "the job {path} is still {} after a minute", job.status);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn made(&self, path: &str, body: &Value) -> Result<Uuid> {
        let made: Value = self.call(Method::POST, path, Some(body)).await?;
        made["id"].as_str().and_then(|id| id.parse().ok()).with_context(|| format!("POST {path} gave no id"))
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let again = request.try_clone();
        let first = self.once(request).await;
        let unauthorized = first.as_ref().is_err_and(|error| {
            error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == StatusCode::UNAUTHORIZED.as_u16())
        });
        let value = match again {
            Some(again) if unauthorized => {
                *self.token.lock().expect("nothing panics with the token") = None;
                self.once(again).await?
            }
            _ => first?,
        };
        serde_json::from_value(value).context("the server's answer has another form")
    }

    async fn once(&self, request: RequestBuilder) -> Result<Value> {
        let token = self.token().await?;
        answer(request.bearer_auth(token)).await
    }

    async fn token(&self) -> Result<String> {
        if let Some(token) = self.token.lock().expect("nothing panics with the token").clone() {
            return Ok(token);
        }
        let body = json!({"name": self.name, "password": self.password});
        let given = answer(self.http.post(self.url("/auth/login")).json(&body)).await.context("logging in")?;
        let token = given["access_token"].as_str().context("the login gave no access token")?.to_owned();
        *self.token.lock().expect("nothing panics with the token") = Some(token.clone());
        Ok(token)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }
}

/// The body of a good answer, or the refusal.
async fn answer(request: RequestBuilder) -> Result<Value> {
    let response = request.send().await.context("asking the server")?;
    let status = response.status();
    let text = response.text().await.context("reading the server's answer")?;
    let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    if status.is_success() {
        return Ok(value);
    }
    Err(Refusal::new(status.as_u16(), &value).into())
}
