//! The terminal: sentences that stay, and below them a block of progress that is drawn over and over. Where the
//! output is no terminal the block becomes a line now and then.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use wavemark_tests::api::{Table, Task};
use wavemark_tests::shop::Counts;

/// What is drawn on.
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the block that is on the screen now.
    drawn: Cell<usize>,
    last_line: Cell<Option<Instant>>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), drawn: Cell::new(0), last_line: Cell::new(None) }
    }

    /// Writes a sentence that stays.
    pub(super) fn say(&self, text: &str) {
        Self::put(&format!("{}{text}\n", self.erase()));
    }

    /// Draws the progress.
    pub(super) fn draw(&self, task: &Task, tables: &[Table], counts: &Counts) {
        if !self.terminal {
            let due = self.last_line.get().is_none_or(|last| last.elapsed() >= Duration::from_secs(2));
            if due {
                self.last_line.set(Some(Instant::now()));
                Self::put(&format!("{}\n", summary(task, tables, counts)));
            }
            return;
        }
        let mut lines = vec![summary(task, tables, counts)];
        lines.extend(tables.iter().map(table_line));
        Self::put(&format!("{}{}\n", self.erase(), lines.join("\n")));
        self.drawn.set(lines.len());
    }

    /// Moves over the block and clears it.
    fn erase(&self) -> String {
        match self.drawn.replace(0) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn put(text: &str) {
        let mut out = std::io::stdout().lock();
        // A closed terminal is met at the next signal.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}

fn summary(task: &Task, tables: &[Table], counts: &Counts) -> String {
    let live = tables.iter().filter(|table| table.state == "live").count();
    let head = format!(
        "{:<9} {live:>2}/{} live  writers {:>7} tx {:>8} changes",
        task.status,
        tables.len(),
        grouped(counts.transactions),
        grouped(counts.changes)
    );
    let Some(progress) = &task.progress else { return head };
    let lag = progress.lag_ms.map_or_else(|| "–".to_owned(), |lag| format!("{lag} ms"));
    let rows: u64 = tables.iter().map(|table| table.rows_loaded).sum();
    format!(
        "{head} | {} {} rows loaded, {} changes in {} waves, lag {lag}",
        progress.phase,
        grouped(rows),
        grouped(progress.changes_written),
        grouped(progress.waves)
    )
}

fn table_line(table: &Table) -> String {
    let bar = match table.chunks {
        0 => String::new(),
        chunks => {
            let full = usize::try_from(u64::from(table.chunks_done) * 16 / u64::from(chunks)).unwrap_or(16).min(16);
            format!("{}{}", "█".repeat(full), "░".repeat(16 - full))
        }
    };
    format!(
        "  {:<14} {:<11} {bar:<16} {:>10} rows  +{} ~{} -{}",
        table.source.table,
        table.state,
        grouped(table.rows_loaded),
        table.inserts,
        table.updates,
        table.deletes
    )
}

/// A number with its thousands apart.
pub(super) fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(0).to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|part| String::from_utf8_lossy(part)).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(7_u64), "7");
        assert_eq!(grouped(1_234_567_i64), "1 234 567");
    }
}
