//! A connection that looks at the server now and then, kept from one look to the next.

use std::collections::BTreeSet;

use tokio::sync::Mutex;
use wavemark_connector::source::LogState;
use wavemark_domain::{Position, Problem};

use super::history::History;
use super::retention::Retention;
use super::state;
use crate::charset::{self, Charsets};
use crate::client;
use crate::settings::Settings;
use crate::wire::Connection;

/// See the module.
pub(crate) struct Looker {
    pub(crate) settings: Settings,
    /// One that failed is not used again.
    kept: Mutex<Option<Connection>>,
}

impl Looker {
    /// Does no I/O.
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, kept: Mutex::new(None) }
    }

    /// Closes the connection until the next look.
    pub(super) async fn rest(&self) {
        if let Some(connection) = self.kept.lock().await.take() {
            connection.close().await;
        }
    }

    /// How far the log goes beyond a bookmark.
    pub(super) async fn log_state(
        &self,
        known: (&History, &Retention),
        bookmark: Option<&Position>,
    ) -> Result<LogState, Problem> {
        let mut kept = self.kept.lock().await;
        let mut connection = self.taken(&mut kept).await?;
        let state = state::log_state(&mut connection, &self.settings, known, bookmark).await?;
        *kept = Some(connection);
        Ok(state)
    }

    /// What the server makes of texts in these sets.
    pub(crate) async fn charsets(&self, names: BTreeSet<String>) -> Result<Charsets, Problem> {
        let mut kept = self.kept.lock().await;
        let mut connection = self.taken(&mut kept).await?;
        let told = charset::ask(&mut connection, names).await?;
        *kept = Some(connection);
        Ok(told)
    }

    async fn taken(&self, kept: &mut Option<Connection>) -> Result<Connection, Problem> {
        match kept.take() {
            Some(connection) => Ok(connection),
            None => client::open(&self.settings).await,
        }
    }
}
