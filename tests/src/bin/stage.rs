//! A server for programs that test it from outside: `stage <command> …` starts one without workers, so that nothing
//! that a test makes up is ever connected to, with a user of each role and one of each thing; runs the command with
//! what it needs in its environment; and ends as the command ended.
//!
//! | variable | what it is |
//! |---|---|
//! | `STAGE_URL` | the server's address |
//! | `STAGE_PASSWORD` | the password of the users `viewer`, `operator` and `boss` (an admin) |
//! | `STAGE_LOG` | the server's log |

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use wavemark_tests::installation::Installation;
use wavemark_tests::pair;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("which command shall run beside the server?")?;
    let installation = Installation::start().await?;
    furnish(&installation).await?;
    let mut command = Command::new(&program);
    command.args(arguments).env("STAGE_URL", installation.api.base()).env("STAGE_PASSWORD", installation.password());
    command.env("STAGE_LOG", installation.server.log());
    let status = tokio::task::spawn_blocking(move || command.status()).await??;
    let mut installation = installation;
    installation.all_running()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

async fn furnish(installation: &Installation) -> Result<()> {
    let api = &installation.api;
    let make = async |path: &str, body: Value| api.call::<Value>(Method::POST, path, Some(&body)).await;
    for (name, role) in [("viewer", "viewer"), ("operator", "operator"), ("boss", "admin")] {
        make("/users", json!({"name": name, "password": installation.password(), "role": role})).await?;
    }
    // Nobody listens there, and without a worker nobody would ask.
    let settings = json!({"host": "127.0.0.1", "port": 1, "database": "d", "user": "u", "tls_mode": "disable"});
    let source = api.create_endpoint("source", "source", &settings, "a secret").await?;
    let target = api.create_endpoint("target", "target", &settings, "a secret").await?;
    let rules = pair::whole_schema("public");
    api.create_task("a task", "full-load-and-cdc", (source, target), &rules, &json!({})).await?;
    make("/tokens", json!({"name": "a token", "role": "viewer"})).await?;
    make("/worker-tokens", json!({"name": "a worker's"})).await?;
    make(&format!("/endpoints/{source}/test"), json!({})).await?;
    Ok(())
}
