//! Statements that go to the server in one packet and are answered one after the other. The server stops at the first
//! that fails, so nothing behind a failure is done.

use wavemark_domain::{Fault, Problem, TableId, TablePlan};

use super::fault::problem;
use super::fence::overtaken;
use crate::wire::{Connection, Done, WireError};

/// From how many bytes on a script is sent.
pub(crate) const FULL: usize = 512 * 1024;

/// What a statement must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// No more than succeed.
    Success,
    /// Touch so many rows, of which the server has nothing to say.
    Rows(u64),
    /// Give a row: the fence lets us through.
    Fence,
}

/// What a statement is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    /// For "Could not … shop.orders".
    pub(crate) verb: &'static str,
    pub(crate) table: Option<TableId>,
    pub(crate) expect: Expect,
}

impl Task {
    /// Of the wave as a whole.
    pub(crate) fn wave(verb: &'static str) -> Self {
        Self { verb, table: None, expect: Expect::Success }
    }

    /// Of rows of a table.
    pub(crate) fn rows(verb: &'static str, table: TableId, rows: u64) -> Self {
        Self { verb, table: Some(table), expect: Expect::Rows(rows) }
    }

    /// The problem that an error of the server is.
    pub(crate) fn failed(&self, plan: &[TablePlan], cause: &WireError) -> Problem {
        self.named(plan, problem(cause, &self.doing(plan)))
    }

    fn plan<'p>(&self, plan: &'p [TablePlan]) -> Option<&'p TablePlan> {
        plan.iter().find(|table| Some(table.id) == self.table)
    }

    fn doing(&self, plan: &[TablePlan]) -> String {
        self.plan(plan).map_or_else(|| self.verb.to_owned(), |table| format!("{} {}", self.verb, table.target))
    }

    fn named(&self, plan: &[TablePlan], problem: Problem) -> Problem {
        match self.plan(plan) {
            Some(table) => problem.table(table.name()),
            None => problem,
        }
    }

    /// Judges what the statement did.
    pub(crate) fn judge(&self, plan: &[TablePlan], done: Done) -> Result<(), Problem> {
        let text = match self.expect {
            Expect::Fence if done.affected != 1 => return Err(overtaken()),
            Expect::Rows(rows) if done.affected != rows => {
                format!("Could not {}: it touched {} rows where {rows} must be.", self.doing(plan), done.affected)
            }
            Expect::Rows(_) if done.warnings > 0 => return Err(self.altered(plan)),
            _ => return Ok(()),
        };
        Err(self.named(plan, Problem::new(Fault::Data, "divergence", text)))
    }

    /// The server took a row and had something to say of it: it rounded or cut a value.
    pub(crate) fn altered(&self, plan: &[TablePlan]) -> Problem {
        let text = format!("Could not {}: the server would alter a value of a row (it warned).", self.doing(plan));
        let problem = Problem::new(Fault::Data, "value-altered", text)
            .advice("Make the target's columns as wide as the source's, or let the task make the table.");
        self.named(plan, problem)
    }
}

/// Statements on their way.
#[derive(Default)]
pub(crate) struct Script {
    sql: Vec<u8>,
    tasks: Vec<Task>,
}

impl Script {
    /// Adds a statement; what it is made of is written behind what is there.
    pub(crate) fn push<E>(&mut self, task: Task, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let before = self.sql.len();
        if before > 0 {
            self.sql.extend_from_slice(b"; ");
        }
        let written = write(&mut self.sql);
        match written {
            Ok(()) => self.tasks.push(task),
            Err(_) => self.sql.truncate(before),
        }
        written
    }

    /// Adds a whole statement.
    pub(crate) fn add(&mut self, task: Task, sql: &str) {
        self.add_bytes(task, sql.as_bytes());
    }

    /// The same, with values in it of any bytes.
    pub(crate) fn add_bytes(&mut self, task: Task, sql: &[u8]) {
        if !self.sql.is_empty() {
            self.sql.extend_from_slice(b"; ");
        }
        self.sql.extend_from_slice(sql);
        self.tasks.push(task);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.sql.len() >= FULL
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.sql.clear();
        self.tasks.clear();
    }

    /// Sends what there is and judges each answer. After an error nothing of the script is left.
    pub(crate) async fn run(&mut self, connection: &mut Connection, plan: &[TablePlan]) -> Result<(), Problem> {
        if self.is_empty() {
            return Ok(());
        }
        let outcome = run(connection, &self.sql, &self.tasks, plan).await;
        self.clear();
        outcome
    }
}

async fn run(connection: &mut Connection, sql: &[u8], tasks: &[Task], plan: &[TablePlan]) -> Result<(), Problem> {
    let mut judged = Ok(());
    let mut answers = 0;
    let outcome = connection
        .execute_many(sql, &mut |done| {
            if let Some(task) = tasks.get(answers)
                && judged.is_ok()
            {
                judged = task.judge(plan, done);
            }
            answers += 1;
        })
        .await;
    if let Err(cause) = outcome {
        let task = tasks.get(answers).copied().unwrap_or(Task::wave("apply changes"));
        return judged.and(Err(task.failed(plan, &cause)));
    }
    if answers != tasks.len() {
        return judged
            .and(Err(Problem::internal("The server answered another number of statements than it was sent.")));
    }
    judged
}
