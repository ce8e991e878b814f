//! Statements on their way: sent without waiting for the answers of those before them, answers taken in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, Statement};
use wavemark_domain::{Fault, Problem, TableId, TablePlan};

use super::fault::problem;

/// How many answers may be outstanding. The driver keeps each in memory; the server blocks when nobody reads.
const MOST: usize = 512;
/// How many bytes of parameters may be on their way: the driver keeps what the server has not taken.
const MOST_BYTES: usize = 16 << 20;

/// A parameter as the wire has it: NULL, or the binary form of the parameter's type.
#[derive(Clone, Debug)]
pub(crate) struct Param(pub(crate) Option<Bytes>);

impl ToSql for Param {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match &self.0 {
            None => IsNull::Yes,
            Some(bytes) => {
                out.extend_from_slice(bytes);
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// What a statement is, for messages, and what it must do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) verb: &'static str,
    pub(crate) table: Option<TableId>,
    /// How many rows it must touch; checked when its answer is taken.
    pub(crate) rows: Option<u64>,
}

impl Task {
    /// A statement about the wave itself.
    pub(crate) const fn wave(verb: &'static str) -> Self {
        Self { verb, table: None, rows: None }
    }

    fn doing(&self, plan: &[TablePlan]) -> String {
        match self.plan(plan) {
            Some(table) => format!("{} {}", self.verb, table.target),
            None => self.verb.to_owned(),
        }
    }

    fn plan<'a>(&self, plan: &'a [TablePlan]) -> Option<&'a TablePlan> {
        plan.iter().find(|table| Some(table.id) == self.table)
    }

    /// The problem that an error of this statement is.
    pub(crate) fn failed(&self, error: &Error, plan: &[TablePlan]) -> Problem {
        self.about(problem(error, &self.doing(plan)), plan)
    }

    fn about(&self, mut problem: Problem, plan: &[TablePlan]) -> Problem {
        if let Some(table) = self.plan(plan) {
            problem = problem.table(table.name());
            problem.key_columns = table.key_names();
            if problem.code == "divergence" {
                problem = problem.advice("Somebody else changed the target table; reload it.");
            }
        }
        problem
    }

    /// The problem of too few or too many rows.
    pub(crate) fn diverged(&self, found: u64, plan: &[TablePlan]) -> Problem {
        let text = format!(
            "Could not {}: {found} rows were touched where {} must be, so the target table differs from the source's.",
            self.doing(plan),
            self.rows.unwrap_or_default(),
        );
        self.about(Problem::new(Fault::Data, "divergence", text), plan)
    }
}

/// The answer to a statement, once it comes: how many rows it touched.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>>;

struct Sent {
    answer: Result<Result<u64, Error>, Answer>,
    task: Task,
    /// Of its parameters.
    bytes: usize,
}

/// See the module.
///
/// Invariant: nothing else is awaited on the client while answers are outstanding, since the driver hands answers
/// out in order and stops reading when one is not taken.
pub(crate) struct Pipeline {
    client: Arc<Client>,
    sent: VecDeque<Sent>,
    bytes: usize,
    failure: Option<Problem>,
}

impl Pipeline {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, sent: VecDeque::new(), bytes: 0, failure: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.failure.is_none()
    }

    /// Sends a statement. Only waits when too many answers are outstanding; errors come out of [`Self::drain`].
    pub(crate) async fn send(&mut self, plan: &[TablePlan], statement: &Statement, params: Vec<Param>, task: Task) {
        if self.sent.len() >= MOST {
            self.take(plan, MOST / 2).await;
        }
        let bytes = params.iter().filter_map(|param| param.0.as_ref()).map(Bytes::len).sum();
        while self.bytes + bytes > MOST_BYTES && !self.sent.is_empty() {
            self.take(plan, self.sent.len() - 1).await;
        }
        let (client, statement) = (Arc::clone(&self.client), statement.clone());
        self.put(Box::pin(async move { client.execute_raw(&statement, params).await }), task, bytes).await;
    }

    /// Puts something else on its way, whose answer comes after those before it. The driver sends it when it is first
    /// polled.
    pub(crate) async fn expect(&mut self, answer: Answer, task: Task) {
        self.put(answer, task, 0).await;
    }

    async fn put(&mut self, mut answer: Answer, task: Task, bytes: usize) {
        let answer = match futures_util::poll!(answer.as_mut()) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => Err(answer),
        };
        self.bytes += bytes;
        self.sent.push_back(Sent { answer, task, bytes });
    }

    async fn take(&mut self, plan: &[TablePlan], leave: usize) {
        while self.sent.len() > leave {
            let Some(Sent { answer, task, bytes }) = self.sent.pop_front() else { return };
            self.bytes -= bytes;
            let answer = match answer {
                Ok(answer) => answer,
                Err(answer) => answer.await,
            };
            if self.failure.is_some() {
                continue;
            }
            self.failure = match answer {
                Err(error) => Some(task.failed(&error, plan)),
                Ok(found) if task.rows.is_some_and(|rows| rows != found) => Some(task.diverged(found, plan)),
                Ok(_) => None,
            };
        }
    }

    /// Takes all answers; the first error that there was.
    pub(crate) async fn drain(&mut self, plan: &[TablePlan]) -> Result<(), Problem> {
        self.take(plan, 0).await;
        self.failure.take().map_or(Ok(()), Err)
    }
}
