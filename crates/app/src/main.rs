//! The `wavemark` binary: server, worker, both at once, and the command line client. The only place that reads the
//! environment.

mod cli;
mod client;
mod connectors;
mod logging;
mod roles;
mod shutdown;

use std::process::ExitCode;

use clap::Parser as _;

/// Rows travel through many short-lived buffers; this allocator is measurably faster with them than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("wavemark: another TLS provider was installed first");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("wavemark: the runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    // Whatever still runs must not keep the process: everything durable is in the databases.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wavemark: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: cli::Cli) -> anyhow::Result<()> {
    use cli::Command;
    match cli.command {
        Command::Server(options) => {
            logging::start(cli.log_json);
            roles::server::run(options).await
        }
        Command::Worker(cli::WorkerCommand { ask: Some(command), .. }) => client::workers(command, cli.output).await,
        Command::Worker(cli::WorkerCommand { ask: None, run }) => {
            logging::start(cli.log_json);
            roles::worker::run(run).await
        }
        Command::Up(options) => {
            logging::start(cli.log_json);
            roles::up::run(options).await
        }
        Command::Migrate(options) => roles::server::migrate(options).await,
        Command::Reseal(options) => roles::server::reseal(options).await,
        Command::Openapi => {
            println!("{}", serde_json::to_string_pretty(&wavemark_server::openapi())?);
            Ok(())
        }
        Command::Client(command) => client::run(command, cli.output).await,
    }
}
