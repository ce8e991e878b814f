//! A transaction that is larger than a batch: applied while it is read. If it fails, all of it is taken back and read
//! again from the bookmark, row by row this time.

use tokio::time::Instant;
use wavemark_connector::target::Segment;
use wavemark_domain::{Fault, Problem, TableId};

use super::Follower;
use super::careful::CarefulStop;
use super::pieces::Piece;
use crate::attempt::Stop;

impl Follower<'_> {
    /// Parts of a transaction that is applied while it is read; commits with its last.
    pub(super) async fn stream(&mut self, pieces: &[Piece<'_>]) -> Result<(), Stop> {
        let careful = self.carried.careful_after.as_ref() == Some(&self.bookmark.position);
        let began = Instant::now();
        for piece in pieces {
            while let Some(table) = self.barred(piece) {
                if !self.rejoins(piece, table) {
                    let problem = piece.barrier_problem(table);
                    return self.start_again(Some((table, problem))).await;
                }
            }
            let outcome = if careful { self.apply_carefully(piece).await } else { self.try_stream(piece).await };
            match outcome {
                Ok(()) => {}
                Err(CarefulStop::Park(table, problem)) => return self.start_again(Some((table, problem))).await,
                Err(CarefulStop::Stop(problem)) if problem.fault == Fault::Data && !careful => {
                    return self.start_again(None).await;
                }
                Err(CarefulStop::Stop(problem)) => return Err(problem.into()),
            }
        }
        if pieces.last().is_some_and(|piece| piece.mark.is_some()) {
            self.streaming = false;
            match self.commit_pieces(pieces, began).await {
                Err(problem) if problem.fault == Fault::Data && !careful => return self.start_again(None).await,
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
        self.session.apply(self.plan, &segment).await.map_err(CarefulStop::Stop)
    }

    /// Takes the open wave back and reads it again from the bookmark: with a table parked, or row by row.
    async fn start_again(&mut self, park: Option<(TableId, Problem)>) -> Result<(), Stop> {
        self.session.roll_back().await?;
        self.run.status.update(|progress| progress.retries += 1);
        match park {
            Some((table, problem)) => {
                self.carried.parks.insert(self.plan[table.index()].name().clone(), problem);
            }
            None => self.carried.careful_after = Some(self.bookmark.position.clone()),
        }
        // Tables parked with this wave and not committed yet are kept for the next attempt.
        for (table, _, problem) in self.parks.drain(..) {
            self.carried.parks.insert(self.plan[table.index()].name().clone(), problem);
        }
        Err(Stop::Again)
    }
}
