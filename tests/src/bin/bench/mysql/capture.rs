//! Reading the binary log: our reader, which makes batches of its rows and leaves them, against the system's own program, which
//! writes what comes into files without a look at it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::changes::{self, CHANGES, Rows, SCHEMA};
use super::{Instance, System};
use crate::Rounds;
use crate::arena::{Arena, succeed};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Roots, Usage};

/// Rounds of changes that lie in the log.
const DEPTH: u32 = 3;

/// The example `capture` of the connector.
struct Reader {
    process: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

pub(crate) fn measure<P: System>(arena: &Arena, rounds: Rounds) -> Result<Section> {
    println!("\nCapture from {}: filling the log …", P::TITLE);
    let source = Instance::<P>::start()?;
    changes::fill_mysql(&source, SCHEMA)?;
    source.execute("FLUSH BINARY LOGS")?;
    let first = source.last_log()?;
    let mut reader = Reader::start(source.port())?;
    let mut rows = Rows::new();
    for _ in 0..DEPTH {
        changes::at_mysql(&source, &rows.next_round()?)?;
    }
    let roots = Roots { worker: reader.process.id(), ..source.as_source(arena)? };
    let mut contestants = [Contestant::new("wavemark"), Contestant::new("binlog --raw")];
    for round in 0..rounds.discarded + rounds.counted {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let usage = if at == 0 { reader.read(roots)? } else { copied(&source, &first, roots)? };
            if round >= rounds.discarded {
                contestants[at].runs.push(usage);
            }
        }
    }
    Ok(Section {
        name: "mysql-capture",
        what: format!("{}, {} changes of the log, without a target", source.title()?, DEPTH * CHANGES),
        unit: Unit::Changes,
        count: DEPTH * CHANGES,
        contestants: contestants.into(),
        wanted: vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(0.6) }],
        worker_peak_bytes: usage::peak(reader.process.id())?,
        stages: Vec::new(),
    })
}

impl Reader {
    /// Starts it; it has noted where the log ends now.
    fn start(port: u16) -> Result<Self> {
        let own = std::env::current_exe().context("asking where this program is")?;
        let mut command = Command::new(own.with_file_name("examples").join("capture"));
        command.args([&port.to_string(), super::USER, SCHEMA]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("starting the connector's example capture, which must be built")?;
        let asked = process.stdin.take().context("it has an input")?;
        let answers = BufReader::new(process.stdout.take().context("it has an output")?);
        let mut reader = Self { process, asked, answers };
        ensure!(reader.line()? == "ready", "the reader is not ready");
        Ok(reader)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("waiting for the reader")?;
        Ok(line.trim_end().to_owned())
    }

    fn read(&mut self, roots: Roots) -> Result<Usage> {
        // The marker of each round is a change besides.
        let wanted = DEPTH * (CHANGES + 1);
        let meter = Meter::start(roots)?;
        writeln!(self.asked, "{wanted}")?;
        let seen = self.line()?;
        let usage = meter.stop()?;
        ensure!(seen == wanted.to_string(), "the reader saw {seen} changes of {wanted}");
        Ok(usage)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn copied<P: System>(source: &Instance<P>, first: &str, roots: Roots) -> Result<Usage> {
    let folder = tempfile::tempdir()?;
    let mut binlog = source.tool("binlog");
    binlog.args(["--read-from-remote-server", "--raw", "--to-last-log"]);
    binlog.arg(format!("--result-file={}/", folder.path().display())).arg(first);
    let meter = Meter::start(roots)?;
    succeed(&mut binlog)?;
    meter.stop()
}
