//! PostgreSQL as a source and as a target.

mod assess;
mod check;
pub mod client;
mod compare;
mod discover;
pub mod encoding;
mod error;
mod extras;
pub mod fidelity;
mod logical;
mod managed;
pub mod native;
pub mod pgoutput;
mod pooler;
pub mod position;
pub mod settings;
pub mod source;
pub mod target;
pub mod tls;
mod types;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Client;
use wavemark_connector::source::Wanted;
use wavemark_connector::{Connector, EndpointSettings, SettingsSpec, Source, Target};
use wavemark_domain::check::Step;
use wavemark_domain::{Problem, Table};

use client::Purpose;
use settings::Settings;

/// The connector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postgres;

#[async_trait]
impl Connector for Postgres {
    fn spec(&self) -> SettingsSpec {
        settings::spec()
    }

    fn source(&self, endpoint: &EndpointSettings) -> Result<Arc<dyn Source>, Problem> {
        Ok(Arc::new(source::PostgresSource::new(Settings::parse(endpoint)?)))
    }

    fn target(&self, endpoint: &EndpointSettings) -> Result<Arc<dyn Target>, Problem> {
        Ok(Arc::new(target::PostgresTarget::new(Settings::parse(endpoint)?)))
    }

    async fn test(
        &self,
        endpoint: &EndpointSettings,
        as_source: bool,
        as_target: bool,
        steps: &mut (dyn FnMut(Step) + Send),
    ) {
        check::test(endpoint, as_source, as_target, steps).await;
    }

    async fn discover(&self, endpoint: &EndpointSettings) -> Result<Vec<Table>, Problem> {
        discover(&Settings::parse(endpoint)?, &|_| true).await
    }
}

/// Every table that is wanted.
async fn discover(settings: &Settings, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
    discover::tables(&mut job_client(settings, "discover").await?, wanted).await
}

/// A connection for a short piece of work.
async fn job_client(settings: &Settings, part: &str) -> Result<Client, Problem> {
    let purpose = Purpose { name: "job", part, lock_timeout: Duration::from_secs(10), writes: false };
    client::open(settings, &purpose).await
}
