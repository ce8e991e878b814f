//! The systems that this binary knows: one line each.

use std::sync::Arc;

use wavemark_connector::Connector;

/// Every connector.
pub(crate) fn all() -> Vec<Arc<dyn Connector>> {
    vec![Arc::new(wavemark_connector_postgres::Postgres), Arc::new(wavemark_connector_mysql::Mysql)]
}
