//! Which bookmarks would survive the loss of this server, as the endpoint's *confirm after* says.
//!
//! Named standbys: the newest bookmark is read together with the place up to which the server has flushed its log. Waves
//! are committed with `synchronous_commit = on`, so one that a statement sees was flushed before: its commit record ends
//! at or before that place. Once all named standbys have flushed up to there, the bookmark is on their disks, and the
//! next one is looked at.
//!
//! A synchronous standby: COMMIT itself waits. But a wait can be cancelled, or ended by a restart, and then the commit
//! is there without its standby. So a small commit of our own follows the newest bookmark: when it is acknowledged,
//! everything before it in the log is on the standby's disk too. Nobody is asked to forget anything while the server
//! names no synchronous standby.
//!
//! Invariant: bookmark, end of the log and acknowledgement are of one connection, so of one server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_connector::target::{Durability, Durable};
use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::{Fault, Position, Problem};

use super::fault::problem;
use crate::client::{Purpose, open};
use crate::settings::{ConfirmAfter, Settings};
use crate::wire::quote_identifier;

/// How long one look waits for a standby.
const LOOK: Duration = Duration::from_secs(2);
const DOING: &str = "look how far the target's standbys are";

/// Who says what is durable; none if a commit is.
pub(super) fn of(settings: &Settings, task: &TaskContext) -> Option<Box<dyn Durability>> {
    match &settings.confirm_after {
        ConfirmAfter::LocalFlush => None,
        ConfirmAfter::SynchronousStandby => {
            Some(Box::new(Synchronous { server: Server::new(settings, task), durable: None, under_way: None }))
        }
        ConfirmAfter::NamedStandbys(names) => {
            let names = names.clone();
            Some(Box::new(Named { server: Server::new(settings, task), names, durable: None, awaited: None }))
        }
    }
}

/// A connection that is made when it is needed.
struct Server {
    settings: Settings,
    task: TaskContext,
    client: Option<Arc<Client>>,
}

impl Server {
    fn new(settings: &Settings, task: &TaskContext) -> Self {
        Self { settings: settings.clone(), task: task.clone(), client: None }
    }

    /// The connection, and whether it is a new one.
    async fn client(&mut self) -> Result<(Arc<Client>, bool), Problem> {
        if let Some(client) = self.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok((Arc::clone(client), false));
        }
        let lock_timeout = Duration::from_secs(self.task.settings.lock_timeout_seconds.into());
        let purpose = Purpose { name: &self.task.name, part: "standbys", lock_timeout, writes: false };
        let client = Arc::new(open(&self.settings, &purpose).await?);
        self.client = Some(Arc::clone(&client));
        Ok((client, true))
    }

    /// The newest bookmark that can be seen, and an end of the log after its commit.
    async fn newest(&self, client: &Client) -> Result<Option<(Position, i64)>, Problem> {
        const SQL: &str = "SELECT position, (pg_catalog.pg_current_wal_flush_lsn() - '0/0')::int8 \
            FROM wavemark.progress WHERE task = $1 ORDER BY wave DESC LIMIT 1";
        let row = client.query_opt(SQL, &[&self.task.task.0]).await.map_err(|error| problem(&error, DOING))?;
        Ok(row.map(|row| (Position::new(row.get::<_, Vec<u8>>(0)), row.get(1))))
    }
}

/// *Named standbys.*
struct Named {
    server: Server,
    names: Vec<String>,
    durable: Option<Position>,
    /// A bookmark and the end of the log that the standbys must flush for it.
    awaited: Option<(Position, i64)>,
}

#[async_trait]
impl Durability for Named {
    async fn durable(&mut self) -> Result<Durable, Problem> {
        let (client, new) = self.server.client().await?;
        if new {
            // What was awaited of another server says nothing about this one.
            (self.awaited, self.durable) = (None, None);
        }
        if self.awaited.is_none() {
            self.awaited = self.server.newest(&client).await?;
        }
        let Some((position, end)) = self.awaited.clone() else { return Ok(Durable::default()) };
        let behind = behind(&client, &self.names, end).await?;
        if behind.is_none() {
            self.durable = Some(position);
            self.awaited = None;
        }
        Ok(Durable { position: self.durable.clone(), waits_for: behind })
    }
}

/// Which of the standbys have not flushed the log up to `end`, in words.
async fn behind(client: &Client, names: &[String], end: i64) -> Result<Option<Problem>, Problem> {
    // Of several that share a name the slowest counts. Without the right to see it the place is null.
    const SQL: &str = "SELECT name, count(r.pid), \
            coalesce(bool_and(coalesce((r.flush_lsn - '0/0')::int8 >= $2, false)), false), \
            ($2 - min((r.flush_lsn - '0/0')::int8))::int8, \
            pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') \
        FROM pg_catalog.unnest($1::text[]) AS named(name) \
        LEFT JOIN pg_catalog.pg_stat_replication r ON r.application_name = name GROUP BY name ORDER BY name";
    let rows = client.query(SQL, &[&names, &end]).await.map_err(|error| problem(&error, DOING))?;
    let mut words = Vec::new();
    for row in &rows {
        let (name, senders, has_it): (&str, i64, bool) = (row.get(0), row.get(1), row.get(2));
        if has_it {
            continue;
        }
        if !row.get::<_, bool>(4) {
            return Ok(Some(unseen()));
        }
        words.push(match (senders, row.get::<_, Option<i64>>(3)) {
            (0, _) => format!("{name} is not connected"),
            (_, Some(bytes)) => format!("{name} is {bytes} bytes of log behind"),
            (_, None) => format!("{name} says nothing of what it has flushed"),
        });
    }
    if words.is_empty() {
        return Ok(None);
    }
    let text = format!("The target's standbys do not have what it committed: {}.", words.join(", "));
    Ok(Some(
        Problem::transient("standby-behind", text)
            .advice("Bring the standby back, or take it out of the endpoint's setting confirm_standbys."),
    ))
}

fn unseen() -> Problem {
    let text = "The endpoint's role may not see how far the target's standbys are.";
    Problem::new(Fault::Settings, "standby-unseen", text).advice("GRANT pg_read_all_stats TO the endpoint's role.")
}

/// *Synchronous standby.*
struct Synchronous {
    server: Server,
    durable: Option<Position>,
    /// Our own commit after a bookmark, while the standby has not acknowledged it.
    under_way: Option<(Position, JoinHandle<Result<(), tokio_postgres::Error>>)>,
}

#[async_trait]
impl Durability for Synchronous {
    async fn durable(&mut self) -> Result<Durable, Problem> {
        let (client, new) = self.server.client().await?;
        if new {
            (self.under_way, self.durable) = (None, None);
        }
        if self.under_way.is_none() {
            if let Some(problem) = no_names(&client).await? {
                return Ok(Durable { position: self.durable.clone(), waits_for: Some(problem) });
            }
            let newest = self.server.newest(&client).await?;
            let Some((position, _)) = newest.filter(|(position, _)| Some(position) != self.durable.as_ref()) else {
                return Ok(Durable { position: self.durable.clone(), waits_for: None });
            };
            let sender = Arc::clone(&client);
            let commit = "SELECT pg_catalog.pg_logical_emit_message(true, 'wavemark', '')";
            self.under_way = Some((position, tokio::spawn(async move { sender.batch_execute(commit).await })));
        }
        let Some((_, commit)) = &mut self.under_way else { return Ok(Durable::default()) };
        let Ok(done) = tokio::time::timeout(LOOK, commit).await else {
            return Ok(Durable { position: self.durable.clone(), waits_for: Some(unacknowledged()) });
        };
        let position = self.under_way.take().map(|(position, _)| position);
        done.map_err(|_| Problem::internal("the commit that asks a standby broke"))?
            .map_err(|error| problem(&error, DOING))?;
        // Names that went while the commit ran would have let it pass.
        let gone = no_names(&client).await?;
        if gone.is_none() {
            self.durable = position;
        }
        Ok(Durable { position: self.durable.clone(), waits_for: gone })
    }
}

fn unacknowledged() -> Problem {
    Problem::transient("standby-behind", "No synchronous standby of the target acknowledges its commits.")
        .advice("Bring the standby back, or change the server's synchronous_standby_names.")
}

/// A commit that nobody is named for waits for nobody.
async fn no_names(client: &Client) -> Result<Option<Problem>, Problem> {
    const SQL: &str = "SELECT pg_catalog.current_setting('synchronous_standby_names') = ''";
    let empty: bool = client.query_one(SQL, &[]).await.map_err(|error| problem(&error, DOING))?.get(0);
    Ok(empty.then(|| {
        let text = "The endpoint confirms after a synchronous standby, and the target server names none.";
        Problem::new(Fault::Settings, "no-synchronous-standby", text).advice(NAMES)
    }))
}

const NAMES: &str = "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (…)'; SELECT pg_reload_conf();";

/// What stands in the way of the endpoint's *confirm after*. Its commits ask for a standby's flush whatever the
/// server's `synchronous_commit` says, for each session sets its own.
pub(crate) async fn assess(client: &Client, settings: &Settings) -> Result<Vec<Finding>, Problem> {
    let finding =
        |weight, code: &str, text: String, mend: Option<String>| Finding { weight, code: code.to_owned(), text, mend };
    match &settings.confirm_after {
        ConfirmAfter::LocalFlush => Ok(Vec::new()),
        ConfirmAfter::SynchronousStandby => Ok(no_names(client)
            .await?
            .map(|problem| finding(Weight::Blocker, &problem.code, problem.text, problem.advice))
            .into_iter()
            .collect()),
        ConfirmAfter::NamedStandbys(names) => {
            let sql = "SELECT pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')";
            let may: bool = client.query_one(sql, &[]).await.map_err(|error| problem(&error, DOING))?.get(0);
            if !may {
                let mend = format!("GRANT pg_read_all_stats TO {}", quote_identifier(&settings.user));
                return Ok(vec![finding(Weight::Blocker, "standby-unseen", unseen().text, Some(mend))]);
            }
            let away = behind(client, names, 0).await?;
            Ok(away.map(|problem| finding(Weight::Warning, "standby-away", problem.text, None)).into_iter().collect())
        }
    }
}
