//! The data folder that clusters are copies of.
//!
//! Each copy gets a system identifier of its own, as `initdb` would have given it: it stands in `pg_control`, of whose first part
//! a checksum comes behind it, and at the beginning of the first file of the log.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use rand::distr::{Alphanumeric, SampleString as _};

use super::programs::{self, Owner, as_owner, succeed};
use crate::template::Template;

/// What a copy is of, and the superuser's password in each.
struct Made {
    template: Template,
    password: String,
}

/// Where the identifier stands in the long header of the log's first page.
const IN_LOG: u64 = 24;

/// Makes a data folder; returns the superuser's password.
pub(super) fn copy(to: &Path) -> Result<String> {
    static MADE: OnceLock<Result<Made>> = OnceLock::new();
    let made = MADE.get_or_init(make).as_ref().map_err(|error| anyhow!("{error:#}"))?;
    made.template.copy(to)?;
    // Those that `initdb` makes are no negative numbers to SQL either.
    number(to, rand::random::<u64>() >> 1)?;
    Ok(made.password.clone())
}

fn make() -> Result<Made> {
    let password = Alphanumeric.sample_string(&mut rand::rng(), 24);
    let template = Template::make(|data| {
        let (password_file, owner) = (data.with_file_name("password"), Owner::find()?);
        fs::write(&password_file, &password)?;
        owner.map_or(Ok(()), |owner| owner.take(&password_file))?;
        let mut initdb = Command::new(programs::folder()?.join("initdb"));
        as_owner(&mut initdb, owner);
        initdb.arg("-D").arg(data).arg(format!("--pwfile={}", password_file.display()));
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        succeed(&mut initdb).map(drop)
    })?;
    Ok(Made { template, password })
}

/// Gives a data folder another system identifier.
fn number(data: &Path, identifier: u64) -> Result<()> {
    let control = data.join("global/pg_control");
    let mut bytes = fs::read(&control)?;
    let is_checksum = |at: &usize| bytes[*at..].starts_with(&crc32c(&bytes[..*at]).to_le_bytes());
    let checked = (8..bytes.len().min(1024)).find(is_checksum).context("pg_control has no checksum")?;
    bytes[..8].copy_from_slice(&identifier.to_le_bytes());
    let checksum = crc32c(&bytes[..checked]).to_le_bytes();
    bytes[checked..checked + 4].copy_from_slice(&checksum);
    fs::write(control, bytes)?;
    let log = fs::File::options().write(true).open(data.join("pg_wal/000000010000000000000001"));
    log?.write_all_at(&identifier.to_le_bytes(), IN_LOG).context("numbering the log")
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(super::crc32c(b"123456789"), 0xE306_9283);
    }
}
