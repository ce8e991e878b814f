//! `MySQL` and `MariaDB` as a source and as a target.

mod address;
mod binlog;
mod charset;
mod check;
mod client;
mod defaults;
mod discover;
mod encoding;
mod error;
#[cfg(test)]
mod examples;
pub mod fidelity;
mod fields;
mod gtid;
mod indexes;
mod log;
mod moments;
mod native;
mod own;
mod position;
mod settings;
mod source;
mod sql;
mod target;
mod types;
mod unsaid;
mod value;
mod version;
mod wire;

#[cfg(any(test, fuzzing))]
pub use log::hostile;

use std::sync::Arc;

use async_trait::async_trait;
use wavemark_connector::{Connector, EndpointSettings, SettingsSpec, Source, Target};
use wavemark_domain::check::Step;
use wavemark_domain::{Problem, Table};

use settings::Settings;

/// The connector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mysql;

#[async_trait]
impl Connector for Mysql {
    fn spec(&self) -> SettingsSpec {
        settings::spec()
    }

    fn source(&self, endpoint: &EndpointSettings) -> Result<Arc<dyn Source>, Problem> {
        Ok(Arc::new(source::MysqlSource::new(Settings::parse(endpoint)?)))
    }

    fn target(&self, endpoint: &EndpointSettings) -> Result<Arc<dyn Target>, Problem> {
        Ok(Arc::new(target::MysqlTarget::new(Settings::parse(endpoint)?)))
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
        let settings = Settings::parse(endpoint)?;
        discover::tables(&mut client::open(&settings).await?, &|_| true).await
    }
}
