//! What would stand in the way of loading and following tables.

use std::sync::Arc;

use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::check::Finding;
use wavemark_domain::{Problem, Table};

pub(crate) async fn assess(_: &Client, _: &TaskContext, _: &[Arc<Table>]) -> Result<Vec<Finding>, Problem> {
    Ok(Vec::new())
}
