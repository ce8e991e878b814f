//! Connection poolers in front of a server, and how they are told from it.
//!
//! A pooler that gives each transaction another server session breaks whatever belongs to a session: settings,
//! prepared statements, snapshots, locks. One that keeps the session but not the replication protocol can't carry the
//! log. What stands in front and does both is let through, for it does no harm.

use wavemark_domain::{Fault, Problem};

use crate::error;
use crate::wire::{ConnectSettings, Connection, ServerError, WireError};

const ADVICE: &str = "Set the endpoint's host and port to those of the PostgreSQL server itself (usually port 5432), \
    not to those of the pooler in front of it.";

/// What asks for the server process that really serves a session.
pub(crate) const WHO: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Whether this refusal is a pooler's: a server knows `replication` and the settings that we ask for.
pub(crate) fn is_refusal(error: &ServerError) -> bool {
    error.code == "08P01" && error.message.contains("unsupported startup parameter")
}

/// The problem that somebody stands between us and the server; `why` says how that shows.
pub(crate) fn problem(doing: &str, why: &str) -> Problem {
    let text = format!("Could not {doing}: a connection pooler is in front of the server: {why}.");
    Problem::new(Fault::Settings, "pooler", text).advice(ADVICE)
}

/// Refuses a session that says of itself to be another than it was greeted as, if it isn't kept for us alone.
///
/// `serves` is what [`WHO`] answered on `connection`.
pub(crate) async fn refuse(
    connection: &Connection,
    serves: Option<&str>,
    connect: &ConnectSettings,
    doing: &str,
) -> Result<(), Problem> {
    if !stands_between(connection, serves) {
        return Ok(());
    }
    match is_kept(connect).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(problem(doing, "it gives each transaction another session of the server")),
        Err(cause) => Err(error::wire(&cause, doing)),
    }
}

/// The same for a connection that must speak the replication protocol.
pub(crate) async fn refuse_for_the_log(
    connection: &mut Connection,
    serves: Option<&str>,
    connect: &ConnectSettings,
    doing: &str,
) -> Result<(), Problem> {
    if !stands_between(connection, serves) {
        return Ok(());
    }
    match connection.identify_system().await {
        // The command came to the server as if it were SQL.
        Err(error) if error.code() == Some("42601") => {
            return Err(problem(doing, "it does not pass the replication protocol on"));
        }
        Err(cause) => return Err(error::wire(&cause, doing)),
        Ok(_) => {}
    }
    refuse(connection, serves, connect, doing).await
}

fn stands_between(connection: &Connection, serves: Option<&str>) -> bool {
    serves != Some(connection.backend_pid().to_string().as_str())
}

/// Whether a session stays ours between two transactions, also when another has begun one meanwhile.
async fn is_kept(connect: &ConnectSettings) -> Result<bool, WireError> {
    let mut connect = connect.clone();
    connect.parameters.push(("replication".to_owned(), "false".to_owned()));
    let (mut ours, mut other) = (Connection::connect(&connect).await?, Connection::connect(&connect).await?);
    let before = who(&mut ours).await?;
    other.query("BEGIN").await?;
    let taken = who(&mut other).await?;
    let after = who(&mut ours).await?;
    other.query("ROLLBACK").await?;
    Ok(before == after && before != taken)
}

async fn who(connection: &mut Connection) -> Result<Option<String>, WireError> {
    let answers = connection.query(WHO).await?;
    Ok(answers.first().and_then(|rows| rows.rows.first()?.text(0)).map(str::to_owned))
}
