//! The protocol's client: one method per message, registering whenever the server doesn't know the worker.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::RwLock;
use wavemark_domain::WorkerId;
use wavemark_domain::ids::JobId;
use wavemark_protocol::{
    JobOutcome, PREFIX, Poll, Register, Registered, Report, ReportAnswer, VERSION, VERSION_HEADER, Work,
};

use crate::WorkerConfig;

/// Why the server could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings make no client.
    #[error("the worker's settings make no connection to the server: {0}")]
    Settings(#[source] reqwest::Error),
    /// No answer.
    #[error("the server at {server} can't be reached")]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        #[source]
        cause: reqwest::Error,
    },
    /// The token is wrong or was revoked.
    #[error("the server refuses this worker's token; make another with `wavemark worker token`")]
    Refused,
    /// Another version of the protocol.
    #[error("the server speaks another version of the worker protocol than {VERSION}: {0}")]
    Version(String),
    /// Anything else.
    #[error("the server answered {status}: {text}")]
    Answer {
        /// The status.
        status: StatusCode,
        /// The body, shortened.
        text: String,
    },
}

impl ClientError {
    /// Whether trying again can't help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::Refused | Self::Version(_))
    }
}

/// A registered worker's connection to the server.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: SecretString,
    register: Register,
    registered: RwLock<Option<Registered>>,
}

impl Client {
    pub(crate) fn new(config: &WorkerConfig) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(10))
            .user_agent(concat!("wavemark-worker/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &config.server_ca {
            builder = builder.tls_certs_merge([reqwest::Certificate::from_pem(pem).map_err(ClientError::Settings)?]);
        }
        Ok(Self {
            http: builder.build().map_err(ClientError::Settings)?,
            server: config.server.trim_end_matches('/').to_owned(),
            token: config.token.clone(),
            register: Register {
                name: config.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                places: config.places,
                engines: config.connectors.iter().map(|connector| connector.spec().engine.to_owned()).collect(),
            },
            registered: RwLock::new(None),
        })
    }

    pub(crate) async fn poll(&self, free_places: u16, wait_seconds: u16, last_ask: i64) -> Result<Work, ClientError> {
        let patience = Duration::from_secs(u64::from(wait_seconds) + 10);
        self.known(|worker| {
            let poll = Poll { worker, free_places, wait_seconds, last_ask: Some(last_ask) };
            async move { self.call("/poll", &poll, patience).await }
        })
        .await
    }

    pub(crate) async fn report(&self, mut report: Report) -> Result<ReportAnswer, ClientError> {
        self.known(|worker| {
            report.worker = worker;
            let report = report.clone();
            async move { self.call("/report", &report, Duration::from_secs(10)).await }
        })
        .await
    }

    pub(crate) async fn job_done(&self, job: JobId, outcome: &JobOutcome) -> Result<(), ClientError> {
        let path = format!("/jobs/{job}");
        self.send(&path, outcome, Duration::from_secs(30)).await.map(drop)
    }

    /// How often to report.
    pub(crate) async fn report_every(&self) -> Duration {
        let millis = self.registered.read().await.as_ref().map_or(1_000, |registered| registered.report_millis);
        Duration::from_millis(u64::from(millis.clamp(100, 60_000)))
    }

    /// Calls with this worker's id, registering first if need be, and again once if the server forgot it.
    async fn known<T, F>(&self, mut call: impl FnMut(WorkerId) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let worker = self.worker().await?;
        match call(worker).await {
            Err(ClientError::Answer { status: StatusCode::NOT_FOUND, .. }) => {
                self.registered.write().await.take_if(|registered| registered.worker == worker);
                call(self.worker().await?).await
            }
            other => other,
        }
    }

    async fn worker(&self) -> Result<WorkerId, ClientError> {
        if let Some(registered) = &*self.registered.read().await {
            return Ok(registered.worker);
        }
        let mut slot = self.registered.write().await;
        if let Some(registered) = &*slot {
            return Ok(registered.worker);
        }
        let registered: Registered = self.call("/register", &self.register, Duration::from_secs(10)).await?;
        tracing::info!(worker.id = %registered.worker, "registered with {}", self.server);
        let worker = registered.worker;
        *slot = Some(registered);
        Ok(worker)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let answer = self.send(path, body, patience).await?;
        answer.json().await.map_err(|cause| self.unreachable(cause))
    }

    async fn send(&self, path: &str, body: &impl Serialize, patience: Duration) -> Result<Response, ClientError> {
        let answer = self
            .http
            .post(format!("{}{PREFIX}{path}", self.server))
            .bearer_auth(self.token.expose_secret())
            .header(VERSION_HEADER, wavemark_protocol::spoken())
            .timeout(patience)
            .json(body)
            .send()
            .await
            .map_err(|cause| self.unreachable(cause))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ClientError::Refused),
            StatusCode::UPGRADE_REQUIRED => Err(ClientError::Version(short_text(answer).await)),
            status => Err(ClientError::Answer { status, text: short_text(answer).await }),
        }
    }

    fn unreachable(&self, cause: reqwest::Error) -> ClientError {
        ClientError::Unreachable { server: self.server.clone(), cause: cause.without_url() }
    }
}

async fn short_text(answer: Response) -> String {
    answer.text().await.unwrap_or_default().chars().take(300).collect()
}
