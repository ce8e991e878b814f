//! Watches on the target that no transaction is ever seen torn, lost or doubled.
//!
//! Each look is one short statement in autocommit: a snapshot that stays open would disturb what it watches.
//! Three things hold in every committed state of the shop, so they must hold in every state of a live copy:
//! the sum of all balances never changes, each transfer moved exactly two accounts, and the transactions of each
//! writer are there without a gap. With the source's [`Order`] also a fourth and a fifth: the transactions that are
//! there are exactly those that ended at or before the bookmark, and the bookmark never goes back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::order::{self, Look, Order};
use crate::shop::{ACCOUNTS, BALANCE};
use crate::system::{Door, Place, Refused, Session};

const LOOK: &str = "select (select count(*) from shop.accounts), (select sum(balance) from shop.accounts),
    (select sum(moves) from shop.accounts), (select count(*) from shop.transfers)";
const GAPS: &str = "select client from shop.hist group by client having count(*) <> max(n) limit 5";

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Looks that got an answer.
    pub looks: u64,
    /// Looks without one, because the target was down.
    pub unanswered: u64,
    /// What must never be: the first few, in words.
    pub violations: Vec<String>,
    /// Looks that were compared with the source's order.
    pub ordered: u64,
    /// Looks with a bookmark that the order was not known to when the watch stopped.
    pub unordered: Vec<Look>,
}

/// A watch that goes on until it is stopped.
pub struct Watch {
    stop: watch::Sender<bool>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to look every `pause`, and at every tenth look also for gaps. The tables must be live.
    #[must_use]
    pub fn start(door: impl Into<Door>, pause: Duration) -> Self {
        Self::run(door.into(), pause, None)
    }

    /// The same, and every fifth look is compared with the source's order.
    #[must_use]
    pub fn start_with_order(door: Door, pause: Duration, task: Uuid, order: Arc<Order>) -> Self {
        Self::run(door, pause, Some(Prefix { task, order, bookmark: Place::default(), waiting: Vec::new() }))
    }

    fn run(door: Door, pause: Duration, mut prefix: Option<Prefix>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut session = None;
            let mut number = 0_u64;
            while !*stopped.borrow() {
                let begun = Instant::now();
                let answer = look(&door, &mut session, number.is_multiple_of(10)).await;
                note(&shared, answer);
                if let (Some(prefix), Some(session), true) = (&mut prefix, &mut session, number.is_multiple_of(5)) {
                    prefix.look(session, &shared).await;
                }
                number += 1;
                let end = stopped.wait_for(|stop| *stop);
                // A shop that has grown must not be busy with being looked at.
                if tokio::time::timeout(pause.max(begun.elapsed() * 9), end).await.is_ok() {
                    break;
                }
            }
            if let Some(prefix) = prefix {
                shared.lock().expect("nothing panics while it notes").unordered = prefix.waiting;
            }
        });
        Self { stop, seen, task }
    }

    /// What was seen so far.
    ///
    /// # Panics
    /// Never: nothing panics while it notes.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("nothing panics while it notes").clone()
    }

    /// Stops, and says what was seen.
    ///
    /// # Errors
    /// The watch itself broke.
    pub async fn stop(self) -> Result<Seen> {
        self.stop.send_replace(true);
        let seen = Arc::clone(&self.seen);
        self.task.await.context("the watch on the bank broke")?;
        let seen = seen.lock().map_err(|_| anyhow::anyhow!("the watch on the bank broke"))?;
        Ok(seen.clone())
    }
}

/// One look.
///
/// # Errors
/// The target gives no answer. A violation is an answer.
pub async fn look_once(session: &mut Session, gaps: bool) -> Result<Vec<String>, Refused> {
    let rows = session.rows(LOOK).await?;
    let mut numbers = rows.iter().flat_map(|row| row.split('\t')).map(|number| number.parse::<i64>().ok());
    let mut next = || numbers.next().flatten();
    let (accounts, balance, moves, transfers) = (next(), next(), next(), next());
    let mut violations = Vec::new();
    if accounts != Some(ACCOUNTS) || balance != Some(ACCOUNTS * BALANCE) {
        violations.push(format!("{accounts:?} accounts hold {balance:?} instead of {}", ACCOUNTS * BALANCE));
    }
    if transfers.is_none() || moves != transfers.map(|transfers| 2 * transfers) {
        violations.push(format!("{transfers:?} transfers made {moves:?} moves of accounts"));
    }
    if gaps {
        let clients = session.rows(GAPS).await?;
        violations.extend(clients.iter().map(|client| format!("writer {client} has a gap")));
    }
    Ok(violations)
}

async fn look(door: &Door, session: &mut Option<Session>, gaps: bool) -> Option<Vec<String>> {
    if session.as_ref().is_none_or(Session::is_lost) {
        *session = Some(door.open().await.ok()?);
    }
    match look_once(session.as_mut()?, gaps).await {
        Ok(violations) => Some(violations),
        // A table that isn't there is a violation: the watch begins when all are live. So for a column.
        Err(refused)
            if refused
                .code
                .as_deref()
                .is_some_and(|code| code.starts_with("42") || code == "1146" || code == "1054") =>
        {
            Some(vec![format!("a table can't be read: {refused}")])
        }
        Err(_) => None,
    }
}

/// What the source's order says of the target.
struct Prefix {
    task: Uuid,
    order: Arc<Order>,
    /// The newest bookmark that was seen.
    bookmark: Place,
    /// Looks that are not judged yet.
    waiting: Vec<Look>,
}

impl Prefix {
    async fn look(&mut self, session: &mut Session, seen: &Mutex<Seen>) {
        // A target that gives no answer is noted by the look at the accounts.
        let Ok(Some(look)) = order::look(session, self.task).await else { return };
        let mut violations = Vec::new();
        if look.bookmark.is_before(self.bookmark) {
            violations.push(format!("the bookmark went back from {} to {}", self.bookmark, look.bookmark));
        }
        self.bookmark = look.bookmark;
        self.waiting.push(look);
        let (ordered, wrong) = self.order.judge(&mut self.waiting);
        violations.extend(wrong);
        let mut seen = seen.lock().expect("nothing panics while it notes");
        seen.ordered += ordered;
        seen.add(violations);
    }
}

impl Seen {
    fn add(&mut self, violations: Vec<String>) {
        let room = 20_usize.saturating_sub(self.violations.len());
        self.violations.extend(violations.into_iter().take(room));
    }
}

fn note(seen: &Mutex<Seen>, answer: Option<Vec<String>>) {
    let mut seen = seen.lock().expect("nothing panics while it notes");
    match answer {
        Some(violations) => {
            seen.looks += 1;
            seen.add(violations);
        }
        None => seen.unanswered += 1,
    }
}
