//! The order of commits in a binary log, as the server's own program writes what is in its files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::Known;

/// A statement's rows are for this table.
const INSERT: &str = "### INSERT INTO `shop`.`hist`";
/// The row's first column, which is `seq`.
const SEQ: &str = "###   @1=";
/// Each event's line says where the next one begins.
const END: &str = " end_log_pos ";

pub(super) struct Reader {
    program: OsString,
    arguments: Vec<OsString>,
    folder: PathBuf,
    known: Arc<Mutex<Known>>,
}

impl Reader {
    pub(super) fn new(program: &std::process::Command, folder: PathBuf, known: Arc<Mutex<Known>>) -> Self {
        let arguments = program.get_args().map(ToOwned::to_owned).collect();
        Self { program: program.get_program().to_owned(), arguments, folder, known }
    }

    /// Reads what has come, again and again: the program writes its last lines only when it ends.
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.read().await {
                self.known.lock().expect("nothing panics with the order").broken = Some(format!("{error:#}"));
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    async fn read(&self) -> Result<()> {
        let end = self.known.lock().expect("nothing panics with the order").end();
        for (number, file) in files(&self.folder)? {
            let begun = u64::from(number) << 32;
            if begun >> 32 >= end >> 32 {
                let from = if begun >> 32 == end >> 32 { end & 0xffff_ffff } else { 4 };
                self.read_file(&file, begun, from).await.with_context(|| format!("reading {}", file.display()))?;
            }
        }
        Ok(())
    }

    async fn read_file(&self, file: &Path, begun: u64, from: u64) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(["--verbose", "--base64-output=DECODE-ROWS"]);
        command.arg(format!("--start-position={from}")).arg(file).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting the program that reads the log")?;
        let output = child.stdout.take().context("it has no output")?;
        let mut complaint = child.stderr.take().context("it has no output for errors")?;
        let mut said = String::new();
        let (commits, _) = tokio::join!(commits(output), complaint.read_to_string(&mut said));
        let status = child.wait().await.context("waiting for the program that reads the log")?;
        // An event that is being written is none yet; those before it were read whole.
        let mut known = self.known.lock().expect("nothing panics with the order");
        for (end, seqs) in commits? {
            known.add(begun | end, &seqs);
        }
        drop(known);
        ensure!(status.success(), "{}", said.trim());
        Ok(())
    }
}

/// The files of a log in their order, with their numbers.
fn files(folder: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix("bin.")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

/// The end of each transaction that added rows, and what they were.
async fn commits(output: impl AsyncRead + Unpin) -> Result<Vec<(u64, Vec<i128>)>> {
    // What rows of other tables hold need not be UTF-8.
    let mut lines = BufReader::new(output).split(b'\n');
    let (mut all, mut seqs, mut end, mut is_row) = (Vec::new(), Vec::new(), 0, false);
    while let Some(line) = lines.next_segment().await? {
        let line = String::from_utf8_lossy(&line);
        if let Some((_, rest)) = line.split_once(END).filter(|_| line.starts_with('#')) {
            end = rest.split(' ').next().and_then(|text| text.trim().parse().ok()).unwrap_or(end);
        }
        if line.starts_with("### INSERT") || line.starts_with("### UPDATE") || line.starts_with("### DELETE") {
            is_row = line.starts_with(INSERT);
        } else if let Some(seq) = line.strip_prefix(SEQ).filter(|_| is_row) {
            seqs.push(seq.trim().parse().context("hist.seq is no number")?);
        } else if line.starts_with("COMMIT") {
            all.push((end, std::mem::take(&mut seqs)));
        } else if line.starts_with("ROLLBACK") {
            seqs.clear();
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commits_are_read_with_their_ends_and_rows_of_one_table() {
        let text = "#261201 21:00:00 server id 1  end_log_pos 300 CRC32 0x1 \tWrite_rows: table id 20 flags: STMT_END_F\n\
            ### INSERT INTO `shop`.`stock`\n### SET\n###   @1=9\n\
            ### INSERT INTO `shop`.`hist`\n### SET\n###   @1=7\n###   @2='a'\n\
            #261201 21:00:00 server id 1  end_log_pos 331 CRC32 0x2 \tXid = 12\nCOMMIT/*!*/;\n\
            #261201 21:00:01 server id 1  end_log_pos 500 CRC32 0x3 \tWrite_rows: table id 20 flags: STMT_END_F\n\
            ### INSERT INTO `shop`.`hist`\n### SET\n###   @1=8\n### UPDATE `shop`.`stock`\n### WHERE\n###   @1=1\n";
        assert_eq!(commits(text.as_bytes()).await.unwrap(), [(331, vec![7])]);
    }
}
