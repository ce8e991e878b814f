//! A client that stays open: to ask a server again and again by new processes would take what is measured its core.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::arena::LIMIT;

/// One session; it ends when it is dropped.
pub(crate) struct Session {
    client: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Session {
    pub(super) fn open(mut client: Command) -> Result<Self> {
        client.args(["--batch", "--raw", "--skip-column-names", "--unbuffered"]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting a client")?;
        let asked = client.stdin.take().context("a client has an input")?;
        let answers = BufReader::new(client.stdout.take().context("a client has an output")?);
        Ok(Self { client, asked, answers })
    }

    /// The answer of a statement that gives one row.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<String> {
        writeln!(self.asked, "{sql};").context("asking a server")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("waiting for a server's answer")?;
        ensure!(answer.ends_with('\n'), "a client ended when it was asked: {sql}");
        Ok(answer.trim_end().to_owned())
    }

    /// Waits until a question is answered by something else than 0.
    pub(crate) async fn until(&mut self, sql: &str) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while self.ask(sql)? == "0" {
            ensure!(Instant::now() < end, "waited too long for: {sql}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until a task's first bookmark is in this target.
    pub(crate) async fn first_bookmark(&mut self) -> Result<()> {
        self.until("SELECT count(*) FROM information_schema.tables WHERE table_name = 'progress' AND table_schema = 'wavemark'")
            .await?;
        self.until("SELECT count(*) FROM wavemark.progress").await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.client.kill());
        drop(self.client.wait());
    }
}
