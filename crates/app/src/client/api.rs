//! The API's client: refreshes its access token by itself, shows the server's own sentence on errors.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::session::Session;

/// A client with a session.
pub(super) struct Api {
    http: reqwest::Client,
    session: Session,
}

impl Api {
    pub(super) fn open() -> anyhow::Result<Self> {
        Session::open().map(Self::new)
    }

    pub(super) fn new(session: Session) -> Self {
        Self { http: reqwest::Client::new(), session }
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// Deletes what is as it was read, by its `ETag`.
    pub(super) async fn delete(&mut self, path: &str) -> anyhow::Result<Value> {
        let etag = self
            .send(Method::GET, path, None, None)
            .await?
            .headers()
            .get("etag")
            .and_then(|etag| etag.to_str().ok())
            .map(str::to_owned);
        self.call(Method::DELETE, path, None, etag.as_deref()).await
    }

    /// All items of a list, page by page, up to so many.
    pub(super) async fn list(&mut self, path: &str, most: usize) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < most {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = match &cursor {
                Some(cursor) => self.get(&format!("{path}{join}cursor={cursor}")).await?,
                None => self.get(path).await?,
            };
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        items.truncate(most);
        Ok(items)
    }

    /// Waits for a job to end and gives its outcome.
    pub(super) async fn wait_for_job(&mut self, job: &Value) -> anyhow::Result<Value> {
        let id = job["job"].as_str().context("the server's answer has no job")?.to_owned();
        for _ in 0..600 {
            let job = self.get(&format!("/jobs/{id}")).await?;
            if !job["finished_at"].is_null() {
                return Ok(job);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        bail!("no worker did the job within 150 s; is one running? See `wavemark worker list`")
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> anyhow::Result<Value> {
        let mut answer = self.send(method.clone(), path, body, etag).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && !self.session.refresh_token.is_empty() {
            self.refresh().await?;
            answer = self.send(method, path, body, etag).await?;
        }
        let status = answer.status();
        let text = answer.text().await.context("reading the server's answer")?;
        let value: Value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_default() };
        if status.is_success() {
            return Ok(value);
        }
        match value["detail"].as_str().or(value["title"].as_str()) {
            Some(sentence) => bail!("{sentence} ({})", value["code"].as_str().unwrap_or("no code")),
            None => bail!("the server answered {status}"),
        }
    }

    async fn refresh(&mut self) -> anyhow::Result<()> {
        let body = json!({"refresh_token": self.session.refresh_token});
        let answer = self.send(Method::POST, "/auth/refresh", Some(&body), None).await?;
        if !answer.status().is_success() {
            bail!("the session has ended: run `wavemark login`");
        }
        let tokens: Value = answer.json().await.context("reading the server's answer")?;
        let token = |name: &str| tokens[name].as_str().map(str::to_owned).context("the server's answer has no tokens");
        self.session.access_token = token("access_token")?;
        self.session.refresh_token = token("refresh_token")?;
        self.session.keep()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> anyhow::Result<Response> {
        let url = format!("{}/api/v1{path}", self.session.server.trim_end_matches('/'));
        let mut request = self.http.request(method, &url);
        let token = self.session.api_token.as_ref().unwrap_or(&self.session.access_token);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        request.send().await.with_context(|| format!("{url} can't be reached"))
    }
}
