//! A transaction that is larger than a batch: applied while it is read. If it fails, all of it is taken back and read
//! again from the bookmark, row by row this time.

use tokio::time::Instant;
use wavemark_connector::target::{Checks, Segment};
use wavemark_domain::{Fault, Problem, TableId};

use super::Follower;
use super::careful::CarefulStop;
use super::pieces::Piece;
use crate::attempt::Stop;

impl Follower<'_> {
    /// Parts of a transaction that is applied while it is read; commits with its last.
    pub(super) async fn stream(&mut self, pieces: &[Piece<'_>]) -> Result<(), Stop> {
        let failed_before = self.carried.careful_after.as_ref().filter(|(after, _)| *after == self.bookmark.position);
        let careful = failed_before.map(|(_, checks)| *checks);
        let began = Instant::now();
        for piece in pieces {
            while let Some(table) = self.barred(piece) {
                if !self.rejoins(piece, table) {
                    let problem = self.ends(piece, table)?;
                    return self.start_without(table, problem).await;
                }
            }
            let outcome = match careful {
                Some(checks) => self.apply_carefully(piece, checks).await,
                None => self.try_stream(piece).await,
            };
            match outcome {
                Ok(()) => {}
                Err(CarefulStop::Park(table, problem)) => return self.start_without(table, problem).await,
                Err(CarefulStop::Stop(problem)) if problem.fault == Fault::Data && careful.is_none() => {
                    return self.start_carefully(Checks::AsDeclared).await;
                }
                Err(CarefulStop::Stop(problem)) => return Err(problem.into()),
            }
        }
        self.show_applied(began);
        if pieces.last().is_some_and(|piece| piece.mark.is_some()) {
            self.streaming = false;
            match self.commit_pieces(pieces, began).await {
                Err(problem) if problem.fault == Fault::Data && careful != Some(Checks::AtOnce) => {
                    return self.start_carefully(Checks::AtOnce).await;
                }
                other => other?,
            }
            self.carried.careful_after = None;
        }
        Ok(())
    }

    async fn try_stream(&mut self, piece: &Piece<'_>) -> Result<(), CarefulStop> {
        let without = self.without(piece.captured);
        let segment =
            Segment { batch: &piece.captured.read.batch, range: piece.range.clone(), without: without.as_deref() };
        self.session.apply(&self.plan, &segment).await.map_err(CarefulStop::Stop)?;
        self.tally.add(&segment, &[]);
        Ok(())
    }

    /// Reads the transaction again from the bookmark, with the table parked.
    pub(super) async fn start_without(&mut self, table: TableId, problem: Problem) -> Result<(), Stop> {
        self.carried.parks.insert(self.marked[table.index()].clone(), problem);
        self.start_again().await
    }

    /// Reads the transaction again from the bookmark, row by row.
    async fn start_carefully(&mut self, checks: Checks) -> Result<(), Stop> {
        self.carried.careful_after = Some((self.bookmark.position.clone(), checks));
        self.start_again().await
    }

    /// Takes the open wave back and ends the attempt. Tables parked with it and not committed yet are kept for the next.
    pub(super) async fn start_again(&mut self) -> Result<(), Stop> {
        self.take_back().await?;
        self.run.status.update(|progress| progress.retries += 1);
        for (table, _, problem) in self.parks.drain(..) {
            self.carried.parks.insert(self.marked[table.index()].clone(), problem);
        }
        Err(Stop::Again)
    }
}
