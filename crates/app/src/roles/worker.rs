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
    if in_the_clear(&options.server) {
        tracing::warn!(
            "the server is reached WITHOUT TLS over a network: this worker's token and the secrets of endpoints cross \
             it in the clear. Give the server a certificate (--tls-cert, --tls-key) and use https://"
        );
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

/// Whether what is said to the server crosses a network unencrypted.
fn in_the_clear(server: &str) -> bool {
    let Some((scheme, rest)) = server.split_once("://") else { return true };
    if scheme.eq_ignore_ascii_case("https") {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    !is_loopback && !host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_loopback_count_as_private() {
        for private in ["http://127.0.0.1:8080", "http://localhost:8080/", "http://[::1]:80", "HTTP://127.9.9.9"] {
            assert!(!in_the_clear(private), "{private}");
        }
        for open in [
            "http://wavemark.example:8080",
            "HTTP://10.0.0.1",
            "http://127.evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1@evil.example",
            "http://[2001:db8::1]:80",
        ] {
            assert!(in_the_clear(open), "{open}");
        }
        assert!(!in_the_clear("https://wavemark.example"));
    }
}
