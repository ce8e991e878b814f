//! A view to compare, beside the log that is followed and whatever other view there is.
//!
//! Its position comes from a temporary slot, as that of every view does; the slot goes as soon as a session has
//! imported the snapshot, so that a long comparison makes the source keep no log.

use wavemark_connector::TaskContext;
use wavemark_domain::Problem;

use super::view::SnapshotView;
use super::{begin, names, session, slot};
use crate::settings::Settings;

/// Makes the view. A slot that was begun by a call that was given up, and that still waits for transactions that were
/// open before it, is ended first: its server process would not notice that nobody listens.
pub(super) async fn view(settings: &Settings, task: &TaskContext) -> Result<SnapshotView, Problem> {
    let name = names::beside(task);
    let control = session::ordinary(settings, task, "control").await?;
    slot::free(&control, &name).await?;
    let given_up = GivenUp { settings, task, name: &name, armed: true };
    let exported = begin::export(settings, task, &name, true).await;
    given_up.disarm();
    let view = SnapshotView::open(settings, task, exported?).await?;
    view.let_slot_go();
    Ok(view)
}

/// Ends the making of a slot whose caller did not wait for it.
struct GivenUp<'a> {
    settings: &'a Settings,
    task: &'a TaskContext,
    name: &'a str,
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
        let (settings, task, name) = (self.settings.clone(), self.task.clone(), self.name.to_owned());
        tokio::spawn(async move {
            let control = session::ordinary(&settings, &task, "control").await?;
            slot::free(&control, &name).await
        });
    }
}
