//! The order of the source's commits, read by the system's own program (`pg_recvlogical`, `mariadb-binlog`, `mysqlbinlog`)
//! and by nothing of ours, and what it says of a look at the target.
//!
//! Every transaction of the shop's writers adds a row to `hist`. A transaction is in the target if and only if its
//! commit ended at or before the bookmark, so a look at the target (bookmark and `hist`, in one snapshot) must show
//! exactly the rows of those transactions: no other prefix of the order, and nothing that is no prefix. A look is
//! judged once the order is known to its bookmark, for the target may be ahead of this reader.

mod binlog;
mod pgoutput;

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::system::{self, Place, Refused, Server, Session, System};
use pgoutput::Message;

/// The name of slot and publication.
pub const NAME: &str = "the_oracle";

/// A set of rows of `hist` in three numbers: how many, and the sums of `seq` and of its square. Two different sets
/// have the same only by a conspiracy of at least four rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub rows: i64,
    /// Sum of `seq`.
    pub sum: i128,
    /// Sum of the squares of `seq`.
    pub squares: i128,
}

impl Digest {
    fn with(self, seq: i128) -> Self {
        Self { rows: self.rows + 1, sum: self.sum + seq, squares: self.squares + seq * seq }
    }
}

/// What the target shows in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The newest bookmark.
    pub bookmark: Place,
    /// The rows of `hist`.
    pub present: Digest,
}

/// Two columns that are a task's newest bookmark in the target, for [`Place::of_bookmark`].
#[must_use]
pub fn newest_bookmark(session: &Session, task: Uuid) -> String {
    let newest =
        |column| format!("(select {column} from wavemark.progress where task = '{task}' order by wave desc limit 1)");
    format!("{}, {}", newest("position_text"), newest(&session.hex("position")))
}

/// Looks at bookmark and `hist` in one statement; `None` without a bookmark.
///
/// # Errors
/// The target gives no answer.
pub async fn look(session: &mut Session, task: Uuid) -> Result<Option<Look>, Refused> {
    let sql = format!(
        "select {}, count(*), coalesce(sum(seq), 0), coalesce(sum(cast(seq as decimal(38, 0)) * seq), 0) from shop.hist",
        newest_bookmark(session, task)
    );
    let rows = session.rows(&sql).await?;
    let mut fields = rows.iter().flat_map(|row| row.split('\t'));
    let bookmark = fields.next().zip(fields.next()).and_then(|(text, bytes)| Place::of_bookmark(text, bytes));
    let mut number = || fields.next().and_then(|text| text.parse::<i128>().ok()).unwrap_or(-1);
    let (rows, sum, squares) = (number(), number(), number());
    let present = Digest { rows: i64::try_from(rows).unwrap_or(-1), sum, squares };
    Ok(bookmark.map(|bookmark| Look { bookmark, present }))
}

/// The commits that are known: the end of each and what `hist` held after it.
#[derive(Debug, Default)]
struct Known {
    commits: Vec<(u64, Digest)>,
    /// Why nothing more will be known.
    broken: Option<String>,
}

impl Known {
    fn end(&self) -> u64 {
        self.commits.last().map_or(0, |(end, _)| *end)
    }

    /// A transaction; one that is known already comes again when the reader was interrupted.
    fn add(&mut self, end: u64, seqs: &[i128]) {
        if end > self.end() && !seqs.is_empty() {
            let before = self.commits.last().map(|(_, digest)| *digest).unwrap_or_default();
            self.commits.push((end, seqs.iter().fold(before, |digest, &seq| digest.with(seq))));
        }
    }

    /// What is wrong with a look, in words.
    fn judge(&self, look: &Look) -> Option<String> {
        let within = self.commits.partition_point(|(end, _)| *end <= look.bookmark.at);
        let expected = if within == 0 { Digest::default() } else { self.commits[within - 1].1 };
        if look.present == expected {
            return None;
        }
        let (Look { bookmark, present }, rows) = (look, expected.rows);
        let prefix = self.commits.iter().find(|(_, digest)| digest == present);
        Some(match prefix {
            Some((end, _)) => format!(
                "at bookmark {bookmark} the target has the {} first rows of the source's order, which ended at {}, where \
                 {rows} must be",
                present.rows,
                Place { at: *end, ..*bookmark }
            ),
            None => format!(
                "at bookmark {bookmark} the target has {} rows that are no prefix of the source's order, where {rows} \
                 must be",
                present.rows
            ),
        })
    }
}

/// The order while it is read: in the log of each server that may be the source, for each has places of its own.
pub struct Order {
    logs: Vec<Log>,
}

struct Log {
    server: Server,
    known: Arc<Mutex<Known>>,
    task: JoinHandle<()>,
}

impl Order {
    /// Begins to read the commits of `shop.hist`, which must be empty and must not be written to yet, at a source of any
    /// system.
    ///
    /// # Errors
    /// What is needed for that can't be made.
    pub async fn of(source: &System) -> Result<Self> {
        if let Some(cluster) = source.cluster() {
            return Self::start(cluster, source.user()).await;
        }
        let read = |log: system::Log| {
            let known = Arc::default();
            let reader = binlog::Reader::new(&log.reader, log.folder, Arc::clone(&known));
            Log { server: log.server, known, task: tokio::spawn(reader.run()) }
        };
        Ok(Self { logs: source.logs().into_iter().map(read).collect() })
    }

    /// The same at PostgreSQL. The slot and the publication are named [`NAME`].
    ///
    /// # Errors
    /// They can't be made.
    pub async fn start(source: &Cluster, database: &str) -> Result<Self> {
        let make = format!("create publication {NAME} for table shop.hist with (publish = 'insert')");
        let slot = format!("select pg_create_logical_replication_slot('{NAME}', 'pgoutput')");
        source.execute(database, &[&make, &slot]).await?;
        let program = source.program("pg_recvlogical");
        let reader = Reader {
            program: program.get_program().to_owned(),
            environment: program
                .get_envs()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                .collect(),
            database: database.to_owned(),
            known: Arc::default(),
        };
        Ok(Self { logs: vec![Log { server: 0, known: Arc::clone(&reader.known), task: tokio::spawn(reader.run()) }] })
    }

    /// Judges the looks whose bookmark lies within what is known and takes them off the list: how many these were,
    /// and what is wrong with them.
    pub fn judge(&self, looks: &mut Vec<Look>) -> (u64, Vec<String>) {
        let is_known = |look: &mut Look| self.log(look).is_none_or(|log| look.bookmark.at <= log.known().end());
        let judged: Vec<_> = looks.extract_if(.., is_known).collect();
        (judged.len() as u64, judged.iter().filter_map(|look| self.judge_one(look)).collect())
    }

    /// Judges all of the looks once everything is known of a source that nobody writes to any more.
    ///
    /// # Errors
    /// The reader doesn't get everything in time.
    pub async fn judge_all(&self, source: &mut Session, looks: Vec<Look>, limit: Duration) -> Result<Vec<String>> {
        self.complete(source, limit).await?;
        Ok(looks.iter().filter_map(|look| self.judge_one(look)).collect())
    }

    /// Waits until everything is known that the source has now.
    ///
    /// # Errors
    /// The reader doesn't get it in time.
    pub async fn complete(&self, source: &mut Session, limit: Duration) -> Result<()> {
        let rows = source.number("select count(*) from shop.hist").await?;
        let end = Instant::now() + limit;
        for log in &self.logs {
            log.complete(rows, end).await?;
        }
        Ok(())
    }

    fn judge_one(&self, look: &Look) -> Option<String> {
        let Some(log) = self.log(look) else {
            return Some(format!("bookmark {} is in a stranger's log", look.bookmark));
        };
        log.known().judge(look)
    }

    /// The log that a look's bookmark is a place in.
    fn log(&self, look: &Look) -> Option<&Log> {
        self.logs.iter().find(|log| log.server == look.bookmark.server)
    }
}

impl Log {
    async fn complete(&self, rows: i64, end: Instant) -> Result<()> {
        loop {
            let has = self.known().commits.last().map_or(0, |(_, digest)| digest.rows);
            if has >= rows {
                return Ok(());
            }
            if Instant::now() > end {
                let broken = self.known().broken.clone().unwrap_or_default();
                bail!("the reader of the log gave {has} rows of {rows} in time. {broken}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics with the order")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reader {
    program: OsString,
    environment: Vec<(OsString, OsString)>,
    database: String,
    known: Arc<Mutex<Known>>,
}

impl Reader {
    /// Runs the program again and again, for its server is killed now and then.
    async fn run(self) {
        loop {
            if let Err(error) = self.read().await {
                self.known.lock().expect("nothing panics with the order").broken = Some(format!("{error:#}"));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Reads until the program ends, which is an error: what it said then.
    async fn read(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir("/");
        command.args(["--start", "--no-loop", "--slot", NAME, "--file", "-", "--dbname", &self.database]);
        command.args(["-o", "proto_version=1", "-o", &format!("publication_names={NAME}"), "--status-interval=1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting pg_recvlogical")?;
        let mut output = child.stdout.take().context("pg_recvlogical has no output")?;
        let mut complaint = child.stderr.take().context("pg_recvlogical has no error output")?;
        let (mut buffer, mut seqs) = (Vec::new(), Vec::new());
        while output.read_buf(&mut buffer).await.context("reading from pg_recvlogical")? > 0 {
            while let Some(message) = pgoutput::take(&mut buffer)? {
                match message {
                    Message::Insert(seq) => seqs.push(seq.parse().context("hist.seq is no number")?),
                    Message::Commit(end) => {
                        self.known.lock().expect("nothing panics with the order").add(end, &seqs);
                        seqs.clear();
                    }
                    Message::Other => {}
                }
            }
        }
        let mut said = String::new();
        complaint.read_to_string(&mut said).await.context("reading what pg_recvlogical said")?;
        child.wait().await.context("waiting for pg_recvlogical")?;
        bail!("pg_recvlogical ended: {}", said.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three transactions; the second row was numbered before the first one's commit.
    fn known() -> Known {
        let mut known = Known::default();
        known.add(100, &[2]);
        known.add(200, &[1]);
        known.add(100, &[2]);
        known.add(300, &[3, 4]);
        known
    }

    fn look(at: u64, rows: i64, sum: i128, squares: i128) -> Look {
        Look { bookmark: Place { at, ..Place::default() }, present: Digest { rows, sum, squares } }
    }

    #[test]
    fn exactly_what_ended_at_or_before_the_bookmark_is_right() {
        for (bookmark, rows, sum, squares) in
            [(99, 0, 0, 0), (100, 1, 2, 4), (199, 1, 2, 4), (200, 2, 3, 5), (300, 4, 10, 30), (999, 4, 10, 30)]
        {
            assert_eq!(known().judge(&look(bookmark, rows, sum, squares)), None, "{bookmark}");
        }
    }

    #[test]
    fn another_prefix_than_the_bookmarks_is_told_from_rows_that_are_none() {
        let behind = known().judge(&look(200, 1, 2, 4)).unwrap();
        assert_eq!(
            behind,
            "at bookmark 0/C8 the target has the 1 first rows of the source's order, which ended at 0/64, where 2 must be"
        );
        // The second transaction without the first; and half of the third.
        for wrong in [look(200, 1, 1, 1), look(300, 3, 6, 14)] {
            let said = known().judge(&wrong).unwrap();
            assert!(said.contains("no prefix of the source's order"), "{said}");
        }
    }
}
