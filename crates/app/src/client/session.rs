//! What the client remembers between commands: the server and the session's tokens, in a file of its own (0600).

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A session with a server.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) server: String,
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    /// A token from the environment; used instead of the others, and never kept.
    #[serde(skip)]
    pub(super) api_token: Option<String>,
}

impl Session {
    /// The session to use: an API token from the environment, or the one of the last login.
    pub(super) fn open() -> anyhow::Result<Self> {
        if let Ok(token) = std::env::var("WAVEMARK_TOKEN") {
            let server = std::env::var("WAVEMARK_SERVER").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
            return Ok(Self { server, api_token: Some(token), ..Self::default() });
        }
        let file = Self::file()?;
        let text = std::fs::read_to_string(&file)
            .context("not logged in: run `wavemark login`, or set WAVEMARK_TOKEN to an API token")?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
    }

    /// Keeps it for the next command.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        let file = Self::file()?;
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut kept = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)
            .with_context(|| format!("writing {}", file.display()))?;
        kept.write_all(serde_json::to_string(self)?.as_bytes())?;
        Ok(())
    }

    /// Forgets the session.
    pub(super) fn forget() -> anyhow::Result<()> {
        match std::fs::remove_file(Self::file()?) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn file() -> anyhow::Result<PathBuf> {
        if let Some(file) = std::env::var_os("WAVEMARK_SESSION_FILE") {
            return Ok(file.into());
        }
        let home = std::env::var_os("HOME").context("no HOME: set WAVEMARK_SESSION_FILE or WAVEMARK_TOKEN")?;
        Ok(PathBuf::from(home).join(".config/wavemark/session.json"))
    }
}
