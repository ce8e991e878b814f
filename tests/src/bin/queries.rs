//! Keeps `.sqlx/` true: the checked form of every query of the metadata, so that a build needs no database.
//!
//! sqlx' macros write one file per query into `SQLX_OFFLINE_DIR` while they compile against a live database. So a
//! private cluster gets the migrations, the crates with such queries are compiled again, and what they wrote is
//! compared with what is committed (`--check`) or takes its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};
use wavemark_tests::cluster::{Cluster, Options};

/// The one crate that holds SQL of the metadata, and a file of it that makes cargo compile it again. The whole workspace is
/// gone through as the lints do it: by itself the crate has other features of its dependencies, which would all be compiled
/// for that alone.
const PACKAGE: &str = "wavemark-store";
const TOUCHED: &str = "crates/store/src/lib.rs";

#[tokio::main]
async fn main() -> Result<()> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("unknown argument {other}; the only one is --check"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests' folder has a parent")?;
    let cluster = Cluster::start("queries", &Options::default())?;
    migrate(&cluster, &root.join("migrations")).await?;
    let folder = tempfile::tempdir()?;
    compile(root, &cluster, folder.path())?;
    let (committed, fresh) = (files(&root.join(".sqlx"))?, files(folder.path())?);
    anyhow::ensure!(!fresh.is_empty(), "compiling {PACKAGE} wrote no query: is it compiled at all?");
    if committed == fresh {
        println!("{} queries are as committed", fresh.len());
        return Ok(());
    }
    if check {
        let stale = committed.iter().filter(|&(name, text)| fresh.get(name) != Some(text)).count();
        let missing = fresh.keys().filter(|name| !committed.contains_key(*name)).count();
        bail!(".sqlx is not what the queries are: {stale} files are stale, {missing} are missing; run `make sqlx`");
    }
    replace(&root.join(".sqlx"), &committed, &fresh)
}

/// With sqlx' own migrator, for the queries also read the table that it keeps.
async fn migrate(cluster: &Cluster, folder: &Path) -> Result<()> {
    let migrator = Migrator::new(folder).await.with_context(|| format!("reading {}", folder.display()))?;
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
    migrator.run(&mut connection).await.context("applying the migrations")
}

fn compile(root: &Path, cluster: &Cluster, folder: &Path) -> Result<()> {
    fs::File::options().append(true).open(root.join(TOUCHED))?.set_modified(SystemTime::now())?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["clippy", "--quiet", "--workspace", "--all-targets", "--locked"])
        .current_dir(root)
        .env("DATABASE_URL", cluster.url("postgres"))
        .env("SQLX_OFFLINE_DIR", folder)
        .env_remove("SQLX_OFFLINE")
        .status()
        .context("starting cargo")?;
    anyhow::ensure!(status.success(), "{PACKAGE} does not compile against the migrations");
    Ok(())
}

fn files(folder: &Path) -> Result<BTreeMap<String, String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        Ok((entry.file_name().to_string_lossy().into_owned(), text.trim_end().to_owned()))
    };
    entries.map(read).collect()
}

fn replace(folder: &Path, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Result<()> {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        fs::remove_file(folder.join(name))?;
    }
    for (name, text) in new.iter().filter(|&(name, text)| old.get(name) != Some(text)) {
        fs::write(folder.join(name), format!("{text}\n"))?;
    }
    println!("{} queries written", new.len());
    Ok(())
}
