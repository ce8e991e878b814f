//! A cap on how fast loads read from or write to one endpoint, shared by all loads of this worker that do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use wavemark_connector::source::{Block, RowReader};
use wavemark_domain::Problem;

/// So many bytes a second, for everyone together who holds it.
pub struct Pace {
    bytes_per_second: u64,
    /// When what was taken so far is paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// A pace of at least one byte a second.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_at: Mutex::new(None) }
    }

    /// Notes that so many bytes were taken, and waits until all that was taken before them is paid for. So each taker
    /// is at most one block ahead.
    pub async fn take(&self, bytes: u64) {
        let now = Instant::now();
        let price = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.bytes_per_second);
        let due = {
            let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            let due = paid_at.unwrap_or(now).max(now);
            *paid_at = Some(due + price);
            due
        };
        tokio::time::sleep_until(due).await;
    }
}

/// The rows of a load at the paces of its source and its target.
pub(crate) fn paced(rows: Box<dyn RowReader>, paces: &[Arc<Pace>]) -> Box<dyn RowReader> {
    if paces.is_empty() { rows } else { Box::new(Paced { rows, paces: paces.to_vec() }) }
}

struct Paced {
    rows: Box<dyn RowReader>,
    paces: Vec<Arc<Pace>>,
}

#[async_trait]
impl RowReader for Paced {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        let block = self.rows.next().await?;
        let bytes = match &block {
            Some(Block::Rows(batch)) => batch.arena_len() as u64,
            Some(Block::Stream(bytes)) => bytes.len() as u64,
            None => 0,
        };
        for pace in &self.paces {
            pace.take(bytes).await;
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everyone_together_takes_no_more_than_the_pace() {
        let pace = Arc::new(Pace::new(1_000));
        let began = Instant::now();
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let pace = Arc::clone(&pace);
            takers.spawn(async move {
                for _ in 0..50 {
                    pace.take(100).await;
                }
            });
        }
        takers.join_all().await;
        // 20,000 bytes, of which the last block need not be paid for.
        assert_eq!(began.elapsed().as_millis(), 19_900);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_up() {
        let pace = Pace::new(1_000);
        pace.take(10).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let began = Instant::now();
        pace.take(1_000).await;
        pace.take(1_000).await;
        assert_eq!(began.elapsed().as_millis(), 1_000);
    }
}
