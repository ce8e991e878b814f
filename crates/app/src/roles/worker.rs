//! The worker role.

use std::path::PathBuf;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use wavemark_worker::WorkerConfig;

use crate::cli::{WorkOptions, WorkerOptions};
use crate::{connectors, shutdown};

/// Runs a worker until it is asked to end.
pub(crate) async fn run(options: WorkerOptions) -> anyhow::Result<()> {
    let server_ca = match &options.server_ca {
        Some(file) => Some(std::fs::read(file).with_context(|| format!("reading {}", file.display()))?),
        None => None,
    };
    if options.server.starts_with("http://") && !is_loopback(&options.server) {
        tracing::warn!("the server is reached without TLS: secrets of endpoints cross the network in the clear");
    }
    let token = options.token.context("no token: set WAVEMARK_WORKER_TOKEN; `wavemark worker token` makes one")?;
    let config = WorkerConfig { server_ca, ..config(options.server, token, options.work) };
    work(config, shutdown::on_signal()?).await
}

/// A configuration without a certificate.
pub(super) fn config(server: String, token: SecretString, options: WorkOptions) -> WorkerConfig {
    WorkerConfig {
        server,
        token,
        server_ca: None,
        name: options.name.unwrap_or_else(host_name),
        places: options.places,
        spill_dir: options.spill_dir.unwrap_or_else(|| std::env::temp_dir().join("wavemark-spill")),
        connectors: connectors::all(),
    }
}

pub(super) async fn work(config: WorkerConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    wavemark_worker::serve(config, shutdown).await?;
    Ok(())
}

fn host_name() -> String {
    let file = std::fs::read_to_string(PathBuf::from("/proc/sys/kernel/hostname")).unwrap_or_default();
    let name = file.trim();
    if name.is_empty() { "worker".to_owned() } else { name.to_owned() }
}

fn is_loopback(server: &str) -> bool {
    let host = server.trim_start_matches("http://");
    ["127.", "localhost", "[::1]"].iter().any(|loopback| host.starts_with(loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_counts_as_private() {
        assert!(is_loopback("http://127.0.0.1:8080"));
        assert!(is_loopback("http://localhost:8080"));
        assert!(!is_loopback("http://wavemark.example:8080"));
    }
}
