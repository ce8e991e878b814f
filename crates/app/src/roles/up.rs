//! Server and one worker in one process.
//!
//! 1. The data folder and the keys are made, if they are missing.
//! 2. A private Postgres is started, unless a database is named.
//! 3. The database is migrated, the server starts, the worker dials it over loopback.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use wavemark_server::ServerConfig;
use wavemark_store::crypt::Keyring;

use super::cluster::Cluster;
use super::{server, worker};
use crate::cli::UpOptions;
use crate::shutdown;

/// Runs both until asked to end.
pub(crate) async fn run(options: UpOptions) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let data = data_folder(options.data)?;
    let _alone = lock(&data)?;
    let keyring = match server::keyring(&options.keys)? {
        Some(keyring) => keyring,
        None => kept_keyring(&data.join("keys"))?,
    };
    let (cluster, database_url) = match options.database_url {
        Some(url) => (None, url),
        None => Cluster::start(&data).map(|(cluster, url)| (Some(cluster), url))?,
    };
    wavemark_server::migrate(&database_url).await.context("migrating the metadata database")?;
    let token = SecretString::from(format!("wmw_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()));
    let config =
        ServerConfig { database_url, worker_token: Some(token.clone()), ..server::config(options.listen, keyring)? };
    anyhow::ensure!(config.tls.is_none(), "`wavemark up` speaks plain HTTP on loopback; for TLS run server and worker");
    let running = wavemark_server::start(config, shutdown.clone()).await?;
    println!("Wavemark is at http://{}", running.address);
    if let Some(code) = &running.first_run_code {
        println!("There is no user yet. Set the first password with the one-time code {}", code.expose_secret());
    }
    let work = worker::config(format!("http://{}", running.address), token, options.work);
    let worked = worker::work(work, shutdown.clone()).await;
    shutdown.cancel();
    running.finished().await;
    drop(cluster);
    worked
}

fn data_folder(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let data = match named {
        Some(data) => data,
        // An ordinary user runs the private Postgres for root, and can't enter root's home.
        None if super::cluster::is_root() => PathBuf::from("/var/lib/wavemark"),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("no HOME: name a folder with --data")?).join(".wavemark")
        }
    };
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    Ok(data.canonicalize()?)
}

/// Keeps a second process off the folder for as long as the file is held.
fn lock(data: &Path) -> anyhow::Result<std::fs::File> {
    let file = data.join("lock");
    let held = std::fs::File::create(&file).with_context(|| format!("making {}", file.display()))?;
    held.try_lock().with_context(|| format!("another `wavemark up` uses {}", data.display()))?;
    Ok(held)
}

/// The keys kept in the data folder, made on the first start.
fn kept_keyring(file: &Path) -> anyhow::Result<Keyring> {
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut made) => made.write_all(Keyring::generate("first").as_bytes())?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("making {}", file.display())),
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Keyring::parse(&text).with_context(|| format!("reading the keys in {}", file.display()))
}
