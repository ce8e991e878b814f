//! Readers that begin one after the other while others write, and see the tables as of one moment nevertheless: for who may
//! stop nobody at a MySQL that numbers its transactions.
//!
//! 1. A place of the log is noted, and waited until all before it can be seen: a transaction stands in the log a while
//!    before it can, and its number is in use for as long.
//! 2. The readers begin. Each sees all up to that place, and some of what came since.
//! 3. Where the log ends now is the view's position: no reader saw more than that.
//! 4. The log between the two says of which keys the readers may see different things. Their rows are as it says;
//!    no reader gives one of them.
//!
//! Such rows come with the first chunk of their table, whichever they would be of. So what a load that goes on in a later view
//! fetches again begins at the first place, not at the view's: then these rows are among it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wavemark_connector::TaskContext;
use wavemark_connector::source::ChangeReader as _;
use wavemark_domain::{Fault, Problem, TableId, TablePlan};

use super::history::History;
use super::late::{Gathering, LateByTable};
use super::view::SnapshotView;
use super::{Looker, begin, resume, state};
use crate::log::{self, Purpose, Start, begun_at};
use crate::position::{Memo, Place};
use crate::wire::Connection;

/// How often it is tried to begin where the log does not say enough.
const TRIES: u32 = 20;
/// How long between two looks at what is being committed.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes of changes at once.
const BATCH: usize = 4 << 20;

/// A view by these readers, which begin again if the log does not say enough of what happened meanwhile.
pub(super) async fn view(
    (looker, history): (&Arc<Looker>, &History),
    task: &TaskContext,
    tables: &[TablePlan],
    (mut control, mut readers): (Connection, Vec<Connection>),
) -> Result<SnapshotView, Problem> {
    let mut why = String::new();
    for _ in 0..TRIES {
        let (before, place) = begin_between((looker, history), task, tables, (&mut control, &mut readers)).await?;
        let start = (Start::at(before.clone()), resume::server(&mut control).await?);
        match late(looker, task, tables, start, &place).await? {
            Ok(late) => {
                begin::as_planned(&mut control, tables).await?;
                let memo = Memo::begun_over(begun_at(&looker.settings, &place).await?, &before);
                return Ok(SnapshotView::new(place.to_position(&memo), control, readers, late));
            }
            Err(unclear) => why = unclear,
        }
    }
    let text = format!("In {TRIES} tries the readers of the load could not begin as of one moment: {why}.");
    Err(Problem::new(Fault::Transient, "begin-unsettled", text).advice(format!(
        "It is tried again. Who may stop writers for a moment needs no luck: {}",
        begin::grants(&looker.settings)
    )))
}

/// Begins the readers. All of them see what was committed up to the first place, and none more than up to the second.
async fn begin_between(
    (looker, history): (&Looker, &History),
    task: &TaskContext,
    tables: &[TablePlan],
    (control, readers): (&mut Connection, &mut [Connection]),
) -> Result<(Place, Place), Problem> {
    let patience = begin::patience(task);
    begin::run(control, "START TRANSACTION READ ONLY", "hold tables").await?;
    begin::hold(control, tables, patience).await?;
    let before = end(looker, history, control).await?;
    all_seen(control, patience).await?;
    for reader in readers {
        begin::begin(reader).await?;
        begin::hold(reader, tables, patience).await?;
    }
    let place = end(looker, history, control).await?;
    begin::run(control, "COMMIT", "let others go on").await?;
    Ok((before, place))
}

async fn end(looker: &Looker, history: &History, control: &mut Connection) -> Result<Place, Problem> {
    let end = state::end(control).await?;
    history.put(end.ok_or_else(|| state::no_log(&looker.settings))?)
}

/// Waits until all that stands in the log by now can be seen.
async fn all_seen(control: &mut Connection, patience: Duration) -> Result<(), Problem> {
    let until = Instant::now() + patience;
    let mut left = state::in_commit(control).await?;
    while !left.is_empty() {
        if Instant::now() >= until {
            let text = format!("A transaction was being committed for {} s.", patience.as_secs());
            return Err(Problem::transient("commit-slow", text).advice(
                "It is tried again. Look whether the server waits for a replica or its disk (SHOW PROCESSLIST).",
            ));
        }
        sleep(LOOK).await;
        let now = state::in_commit(control).await?;
        left.retain(|number| now.contains(number));
    }
    Ok(())
}

/// Reads the log up to the place; or why it does not say enough.
async fn late(
    looker: &Arc<Looker>,
    task: &TaskContext,
    tables: &[TablePlan],
    start: (Start, log::Server),
    place: &Place,
) -> Result<Result<LateByTable, String>, Problem> {
    let mut gathering = Gathering::of(tables);
    if start.0.place != *place {
        let mut reader = log::open(looker, task, &numbered(tables), start, Purpose::LookBack).await?;
        let place = place.to_position(&Memo::default());
        loop {
            match gathering.take(&reader.next(BATCH).await?.batch, &place) {
                Ok(true) => break,
                Ok(false) => {}
                Err(unclear) => return Ok(Err(unclear)),
            }
        }
    }
    Ok(Ok(gathering.late()))
}

/// The tables under the numbers of their places: a reader of the log has a plan of all its tables, which may be some of the task's.
fn numbered(tables: &[TablePlan]) -> Vec<TablePlan> {
    let numbered = (0..).zip(tables).map(|(at, table)| TablePlan { id: TableId(at), ..table.clone() });
    numbered.collect()
}
