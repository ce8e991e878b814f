//! The command line client, over the public API only.

mod api;
mod commands;
mod compares;
mod print;
mod session;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::cli::{ClientCommand, LoginOptions, Output, WorkersCommand};
use api::Api;
use session::Session;

/// Runs one client command.
pub(crate) async fn run(command: ClientCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ClientCommand::Login(options) => login(options).await,
        ClientCommand::Logout => logout().await,
        ClientCommand::Endpoint(command) => commands::endpoint(&mut Api::open()?, command, output).await,
        ClientCommand::Task(command) => commands::task(&mut Api::open()?, command, output).await,
        ClientCommand::Events(options) => commands::events(&mut Api::open()?, &options, output).await,
    }
}

/// Asks about workers.
pub(crate) async fn workers(command: WorkersCommand, output: Output) -> anyhow::Result<()> {
    commands::workers(&mut Api::open()?, command, output).await
}

async fn login(options: LoginOptions) -> anyhow::Result<()> {
    let password = match options.password {
        Some(password) => password,
        None => ask(&format!("Password of {}: ", options.name))?.into(),
    };
    let mut api = Api::new(Session { server: options.server.clone(), ..Session::default() });
    let body = json!({"name": options.name, "password": password.expose_secret()});
    let tokens = api.post("/auth/login", &body).await?;
    let token = |name: &str| tokens[name].as_str().map(str::to_owned).context("the server's answer has no tokens");
    let session = Session {
        server: options.server,
        access_token: token("access_token")?,
        refresh_token: token("refresh_token")?,
        api_token: None,
    };
    session.keep()?;
    println!("Logged in to {} as {}.", session.server, options.name);
    Ok(())
}

async fn logout() -> anyhow::Result<()> {
    let mut api = Api::open()?;
    let told = api.post("/auth/logout", &json!({})).await;
    Session::forget()?;
    if let Err(error) = told {
        eprintln!("The session is forgotten here; the server could not be told: {error:#}");
    }
    Ok(())
}

/// Asks on the terminal, without showing what is typed where `stty` is there.
fn ask(question: &str) -> anyhow::Result<String> {
    use std::io::{BufRead as _, Write as _};
    eprint!("{question}");
    std::io::stderr().flush()?;
    let echo = |word: &str| std::process::Command::new("stty").arg(word).status().is_ok();
    let hidden = echo("-echo");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if hidden {
        echo("echo");
        eprintln!();
    }
    read.context("reading the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
