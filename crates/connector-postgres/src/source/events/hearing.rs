//! Whether what is told can be relied on: that nothing was told means that there was nothing.
//!
//! For that the triggers must have been there, and every reader of the task must have heard them, without a gap. A reader that
//! can't know that takes what is told as it comes and proves the rest as without triggers. It looks at the catalog meanwhile, as
//! all do; once everything that such a look found is behind it, there is no gap any more from there on.

use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_domain::Problem;

use super::super::unspoken;
use super::{are_wanted, heard, note_heard, since};
use crate::wire::Lsn;

/// What a reader knows of that.
pub(in super::super) struct Hearing {
    hears: bool,
    /// From here on there was no gap.
    from: Option<Lsn>,
    /// Where the catalog was looked at with a gap before it.
    looked: Option<Lsn>,
}

impl Hearing {
    /// For a reader from there on; with the number that the triggers write. One that does not follow layouts relies on
    /// nothing.
    pub(in super::super) async fn begin(
        client: &Client,
        task: &TaskContext,
        publication: &str,
        (bookmark, follows): (Lsn, bool),
    ) -> Result<(Self, Option<i64>), Problem> {
        let before = heard(client, publication).await?;
        if !are_wanted(task) {
            if follows && before.is_some() {
                note_heard(client, publication, None).await;
            }
            return Ok((Self { hears: false, from: None, looked: None }, None));
        }
        let told = since(client).await;
        let is_whole = |from: &Lsn| told.since.is_some_and(|since| since <= *from) && *from <= bookmark;
        let hears = follows && told.token.is_some();
        Ok((Self { hears, from: before.filter(|from| hears && is_whole(from)), looked: None }, told.token))
    }

    /// Whether every alteration is told.
    pub(in super::super) fn are_told(&self) -> bool {
        self.from.is_some()
    }

    /// Looks whether the triggers are still those that were there, or whether the gap is behind.
    pub(in super::super) async fn look(&mut self, client: &Client, publication: &str, confirmed: Lsn) {
        if !self.hears {
            return;
        }
        let since = since(client).await.since;
        let is_there = |at: &Lsn| since.is_some_and(|since| since <= *at);
        self.from = self.from.filter(is_there);
        let looked = self.looked.take().filter(is_there);
        match looked.filter(|_| self.from.is_none()) {
            Some(looked) if looked <= confirmed => {
                self.from = Some(looked);
                note_heard(client, publication, self.from).await;
            }
            waits => self.looked = waits,
        }
    }

    /// The catalog was looked at, and what was found is waited for.
    pub(in super::super) async fn looked(&mut self, client: &Client) -> Result<(), Problem> {
        if self.hears && self.from.is_none() && self.looked.is_none() {
            self.looked = Some(unspoken::end(client).await?);
        }
        Ok(())
    }
}
