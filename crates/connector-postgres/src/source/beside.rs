//! A view to compare, beside the log that is followed and whatever other view there is.
//!
//! Its position comes from a temporary slot, as that of every view does; the slot goes as soon as a session has
//! imported the snapshot, so that a long comparison makes the source keep no log.

use wavemark_connector::TaskContext;
use wavemark_domain::Problem;

use super::view::SnapshotView;
use super::{begin, names, session, slot};
use crate::settings::Settings;
use crate::wire::SlotLife;

/// Makes the view. A slot that was begun by a call that was given up, and that still waits for transactions that were
/// open before it, is ended first: its server process would not notice that nobody listens.
pub(super) async fn view(settings: &Settings, task: &TaskContext) -> Result<SnapshotView, Problem> {
    let name = names::beside(task);
    let control = session::ordinary(settings, task, "control").await?;
    slot::free(&control, &name).await?;
    let connection = session::replication(settings, &task.name, "snapshot").await?;
    let given_up = GivenUp { settings, task, pid: connection.backend_pid(), armed: true };
    let exported = begin::export_by(connection, &name, SlotLife::Temporary).await;
    given_up.disarm();
    let view = SnapshotView::open(settings, task, exported?).await?;
    view.let_slot_go();
    Ok(view)
}

/// Ends the making of a slot whose caller did not wait for it, by its process: by then the next one may have the name.
struct GivenUp<'a> {
    settings: &'a Settings,
    task: &'a TaskContext,
    pid: i32,
    armed: bool,
}

impl GivenUp<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (settings, task, pid, name) =
            (self.settings.clone(), self.task.clone(), self.pid, names::beside(self.task));
        tokio::spawn(async move {
            let control = session::ordinary(&settings, &task, "control").await?;
            slot::end(&control, &name, pid).await
        });
    }
}
