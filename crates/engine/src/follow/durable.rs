//! What the source may forget: bookmarks that are durable as the target's settings say.
//!
//! Where a commit alone is enough, a committed bookmark is confirmed at once. Else waves go on while
//! [`Durability`] is asked again and again, and only the confirmation waits: the source keeps its log meanwhile.
//!
//! Invariant: this is the only place that lets a position be confirmed.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wavemark_connector::target::{Durability, Durable};
use wavemark_domain::progress::Severity;
use wavemark_domain::{Position, Problem};

use crate::run::Run;
use crate::status::Status;

/// How often it is asked what is durable while something committed is not.
const PAUSE: Duration = Duration::from_millis(200);
/// A standby that is this much behind is worth a word.
const SHOWN: Duration = Duration::from_secs(5);
/// A COMMIT that takes longer has a reason that a person should know.
const LONG: Duration = Duration::from_secs(10);

/// What is to be confirmed to the source, as it follows from what was committed.
pub(super) fn confirmed(
    run: &Run,
    committed: watch::Receiver<Position>,
    helpers: &mut JoinSet<()>,
) -> watch::Receiver<Option<Position>> {
    let (confirmed, confirm) = watch::channel(None);
    match run.target.durability(&run.task) {
        None => helpers.spawn(at_once(committed, confirmed)),
        Some(durability) => {
            let waiting = Waiting { status: run.status.clone(), since: None, shown: false };
            helpers.spawn(once_durable(durability, committed, confirmed, waiting))
        }
    };
    confirm
}

/// A committed bookmark is durable.
async fn at_once(mut committed: watch::Receiver<Position>, confirmed: watch::Sender<Option<Position>>) {
    loop {
        let position = committed.borrow_and_update().clone();
        confirmed.send_replace(Some(position));
        if committed.changed().await.is_err() {
            return;
        }
    }
}

async fn once_durable(
    mut durability: Box<dyn Durability>,
    mut committed: watch::Receiver<Position>,
    confirmed: watch::Sender<Option<Position>>,
    mut waiting: Waiting,
) {
    loop {
        let newest = committed.borrow_and_update().clone();
        let Durable { position, waits_for } =
            durability.durable().await.unwrap_or_else(|problem| Durable { position: None, waits_for: Some(problem) });
        let is_news = position.is_some() && position > *confirmed.borrow();
        if let Some(position) = position.filter(|_| is_news) {
            confirmed.send_replace(Some(position));
        }
        if confirmed.borrow().as_ref().is_some_and(|confirmed| *confirmed >= newest) {
            waiting.is_over();
            if committed.changed().await.is_err() {
                return;
            }
        } else {
            waiting.goes_on(is_news, waits_for);
            sleep(PAUSE).await;
            if committed.has_changed().is_err() {
                return;
            }
        }
    }
}

/// Since when nothing became durable, and whether that was told.
struct Waiting {
    status: Status,
    since: Option<Instant>,
    shown: bool,
}

impl Waiting {
    fn goes_on(&mut self, is_news: bool, why: Option<Problem>) {
        let since = self.since.filter(|_| !is_news);
        let since = *self.since.insert(since.unwrap_or_else(Instant::now));
        let why = why.filter(|_| since.elapsed() >= SHOWN);
        if let Some(problem) = &why
            && !std::mem::replace(&mut self.shown, true)
        {
            self.status.problem(Severity::Warning, problem);
        }
        self.status.update(|progress| progress.confirm_waits_for = why);
    }

    fn is_over(&mut self) {
        self.since = None;
        if std::mem::take(&mut self.shown) {
            let text = "What the target has is durable as its settings say; the source may forget its log again";
            self.status.event(Severity::Info, "confirm-goes-on", text);
        }
        self.status.update(|progress| progress.confirm_waits_for = None);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.status.update(|progress| progress.confirm_waits_for = None);
    }
}

/// Waits for a commit, and says so if that takes long.
pub(super) async fn patiently(
    status: &Status,
    commit: impl Future<Output = Result<(), Problem>>,
) -> Result<(), Problem> {
    tokio::pin!(commit);
    if let Ok(done) = timeout(LONG, &mut commit).await {
        return done;
    }
    let text = format!("The target has not answered a COMMIT for {} s.", LONG.as_secs());
    let problem = Problem::transient("commit-waits", text)
        .advice("Look for a synchronous standby that is away (pg_stat_activity, wait_event SyncRep) or a slow disk.");
    status.problem(Severity::Warning, &problem);
    status.update(|progress| progress.waiting_for = Some(problem));
    let done = commit.await;
    status.update(|progress| progress.waiting_for = None);
    done
}
