//! The command line: every command, option and variable, with the help that people see.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

/// Copies databases and keeps the copies current.
#[derive(Parser)]
#[command(name = "wavemark", version, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log as JSON, one object a line (server, worker, up)
    #[arg(long, global = true, env = "WAVEMARK_LOG_JSON")]
    pub(crate) log_json: bool,
    /// How client commands print
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How client commands print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table for people
    Table,
    /// The API's JSON
    Json,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server: API, pages, and the workers' side of the protocol
    Server(ServerOptions),
    /// Run a worker, which dials the server and runs tasks; or ask the server about its workers
    Worker(WorkerCommand),
    /// Run a server and one worker in one process, on a private Postgres if no database is named
    Up(UpOptions),
    /// Bring the metadata database to this version
    Migrate(DatabaseOptions),
    /// Seal all stored secrets again with the newest key
    Reseal(KeyedDatabaseOptions),
    /// Print the API's OpenAPI document
    Openapi,
    #[command(flatten)]
    Client(ClientCommand),
}

/// The metadata database.
#[derive(Args)]
pub(crate) struct DatabaseOptions {
    /// The metadata Postgres, `postgres://user:password@host/database`
    #[arg(long, env = "WAVEMARK_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: SecretString,
}

/// The keys that seal secrets at rest.
#[derive(Args)]
pub(crate) struct KeyOptions {
    /// Keys that seal stored secrets: `id:base64 of 32 bytes`, comma-separated, the newest first
    #[arg(long, env = "WAVEMARK_KEYS", hide_env_values = true)]
    pub(crate) keys: Option<SecretString>,
    /// A file with the same, one key a line
    #[arg(long, env = "WAVEMARK_KEYS_FILE", conflicts_with = "keys")]
    pub(crate) keys_file: Option<PathBuf>,
}

/// Database and keys.
#[derive(Args)]
pub(crate) struct KeyedDatabaseOptions {
    #[command(flatten)]
    pub(crate) database: DatabaseOptions,
    #[command(flatten)]
    pub(crate) keys: KeyOptions,
}

/// What server and `up` have in common.
#[derive(Args)]
pub(crate) struct ListenOptions {
    /// The address to listen on
    #[arg(long, env = "WAVEMARK_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The address under which browsers reach the server; `https` makes cookies Secure
    #[arg(long, env = "WAVEMARK_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// Certificate chain (PEM file); with it the server speaks HTTPS only
    #[arg(long, env = "WAVEMARK_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM file)
    #[arg(long, env = "WAVEMARK_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The password of the first user, `admin`, if there is no user yet; without it a one-time code is printed
    #[arg(long, env = "WAVEMARK_ADMIN_PASSWORD", hide_env_values = true)]
    pub(crate) admin_password: Option<SecretString>,
}

/// The server.
#[derive(Args)]
pub(crate) struct ServerOptions {
    #[command(flatten)]
    pub(crate) database: DatabaseOptions,
    #[command(flatten)]
    pub(crate) keys: KeyOptions,
    #[command(flatten)]
    pub(crate) listen: ListenOptions,
    /// What signs access tokens; made and kept in the database without it
    #[arg(long, env = "WAVEMARK_JWT_SECRET", hide_env_values = true)]
    pub(crate) jwt_secret: Option<SecretString>,
    /// A worker token that holds from the start
    #[arg(long, env = "WAVEMARK_WORKER_TOKEN", hide_env_values = true)]
    pub(crate) worker_token: Option<SecretString>,
    /// Connections to the metadata database
    #[arg(long, env = "WAVEMARK_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub(crate) database_connections: u32,
    /// Bring the database to this version first
    #[arg(long)]
    pub(crate) migrate: bool,
}

/// Run one, or ask about all.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct WorkerCommand {
    /// What to ask; without it a worker runs
    #[command(subcommand)]
    pub(crate) ask: Option<WorkersCommand>,
    #[command(flatten)]
    pub(crate) run: WorkerOptions,
}

/// A worker.
#[derive(Args)]
pub(crate) struct WorkerOptions {
    /// The server's address
    #[arg(long, env = "WAVEMARK_SERVER", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
    /// The worker's token; `wavemark worker token` makes one
    #[arg(long, env = "WAVEMARK_WORKER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<SecretString>,
    /// A certificate (PEM file) to check the server's against, besides the public ones
    #[arg(long, env = "WAVEMARK_SERVER_CA")]
    pub(crate) server_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) work: WorkOptions,
}

/// What worker and `up` have in common.
#[derive(Args)]
pub(crate) struct WorkOptions {
    /// The worker's name for people; the host's without it
    #[arg(long, env = "WAVEMARK_WORKER_NAME")]
    pub(crate) name: Option<String>,
    /// How many tasks it takes at once
    #[arg(long, env = "WAVEMARK_PLACES", default_value_t = 8)]
    pub(crate) places: u16,
    /// Where transactions larger than the memory may be put
    #[arg(long, env = "WAVEMARK_SPILL_DIR")]
    pub(crate) spill_dir: Option<PathBuf>,
}

/// Server and worker in one.
#[derive(Args)]
pub(crate) struct UpOptions {
    /// The metadata Postgres; without it a private one is started in the data folder
    #[arg(long, env = "WAVEMARK_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<SecretString>,
    /// Where keys and the private Postgres live; `$HOME/.wavemark` without it
    #[arg(long, env = "WAVEMARK_DATA")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyOptions,
    #[command(flatten)]
    pub(crate) listen: ListenOptions,
    #[command(flatten)]
    pub(crate) work: WorkOptions,
}

/// The client's commands, over the public API.
#[derive(Subcommand)]
pub(crate) enum ClientCommand {
    /// Log in and keep the session for the other commands
    Login(LoginOptions),
    /// Forget the session
    Logout,
    /// Endpoints: systems with their connection settings
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// Tasks: replications
    #[command(subcommand)]
    Task(TaskCommand),
    /// What happened, newest first
    Events(EventsOptions),
}

/// Logging in.
#[derive(Args)]
pub(crate) struct LoginOptions {
    /// The server's address
    #[arg(long, env = "WAVEMARK_SERVER", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
    /// The user's name
    #[arg(long, default_value = "admin")]
    pub(crate) name: String,
    /// The password; asked for on the terminal without it
    #[arg(long, env = "WAVEMARK_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<SecretString>,
}

/// Endpoints.
#[derive(Subcommand)]
pub(crate) enum EndpointCommand {
    /// List them
    List,
    /// Show one
    Show {
        /// Its name or id
        endpoint: String,
    },
    /// Make one from a JSON file (`-` reads standard input)
    Create {
        /// The file: name, engine, role, settings, secrets
        file: PathBuf,
    },
    /// Delete one
    Delete {
        /// Its name or id
        endpoint: String,
    },
    /// Connect for real, step by step
    Test {
        /// Its name or id
        endpoint: String,
    },
    /// List its schemas, tables and keys
    Discover {
        /// Its name or id
        endpoint: String,
    },
}

/// Tasks.
#[derive(Subcommand)]
pub(crate) enum TaskCommand {
    /// List them
    List,
    /// Show one with its progress
    Show {
        /// Its name or id
        task: String,
    },
    /// Its tables
    Tables {
        /// Its name or id
        task: String,
    },
    /// Make one from a JSON file (`-` reads standard input)
    Create {
        /// The file: name, kind, source and target endpoint ids, mappings, settings
        file: PathBuf,
    },
    /// Look for what would stand in its way
    Assess {
        /// Its name or id
        task: String,
    },
    /// Go on as a task whose metadata was lost, from its bookmark in the target; for a task that never ran
    Adopt {
        /// Its name or id
        task: String,
        /// The identity to go on as; without it what the target holds is only shown
        #[arg(long)]
        from: Option<String>,
    },
    /// Start it for the first time
    Start {
        /// Its name or id
        task: String,
    },
    /// Go on where it stopped
    Resume {
        /// Its name or id
        task: String,
    },
    /// Stop it after the wave under way
    Stop {
        /// Its name or id
        task: String,
    },
    /// Wait until the target has all that the source has now, for a switch-over; first stop what writes to the source
    Drain {
        /// Its name or id
        task: String,
        /// How long to wait, in seconds
        #[arg(long, default_value_t = 600)]
        wait: u32,
    },
    /// Load all of it again from the start
    Reload {
        /// Its name or id
        task: String,
    },
    /// Load some of its tables again, or for the first time
    ReloadTable {
        /// Its name or id
        task: String,
        /// The tables at the source, as schema.table
        #[arg(required = true)]
        tables: Vec<String>,
    },
    /// Leave some of its tables behind where they are
    ParkTable {
        /// Its name or id
        task: String,
        /// The tables at the source, as schema.table
        #[arg(required = true)]
        tables: Vec<String>,
    },
    /// Compare source and target at one position while it follows
    Compare {
        /// Its name or id
        task: String,
        /// The tables at the source, as schema.table; all without them
        tables: Vec<String>,
        /// Sessions that read on each side
        #[arg(long, default_value_t = 2)]
        sessions: u16,
        /// Wait until it is over and print it; fails unless all is equal
        #[arg(long)]
        wait: bool,
    },
    /// Its comparisons, newest first
    Compares {
        /// Its name or id
        task: String,
    },
    /// What a comparison found, by key
    Differences {
        /// The comparison's id
        compare: String,
    },
    /// Make the rows equal that a comparison found to differ
    Repair {
        /// The comparison's id
        compare: String,
        /// The tables at the source, as schema.table; all that differ without them
        tables: Vec<String>,
        /// Wait until it is over and print it; fails unless all is equal
        #[arg(long)]
        wait: bool,
    },
    /// Delete it with its slot, publication and bookmark
    Delete {
        /// Its name or id
        task: String,
    },
}

/// Workers.
#[derive(Subcommand)]
pub(crate) enum WorkersCommand {
    /// List them
    List,
    /// Let one finish its tasks and take nothing new
    Drain {
        /// Its id
        worker: String,
    },
    /// Make a token for a new worker; shown once
    Token {
        /// A name for people
        name: String,
    },
}

/// Events.
#[derive(Args)]
pub(crate) struct EventsOptions {
    /// Only this task's (name or id)
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: u32,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    const OPERATING: &str = include_str!("../../../docs/OPERATING.md");
    /// Read by the client and by crash points, not by an option.
    const NOT_OPTIONS: [&str; 3] = ["WAVEMARK_TOKEN", "WAVEMARK_SESSION_FILE", "WAVEMARK_CRASH"];

    fn variables(command: &clap::Command, found: &mut BTreeSet<String>) {
        found.extend(command.get_arguments().filter_map(|option| option.get_env()?.to_str().map(str::to_owned)));
        command.get_subcommands().for_each(|command| variables(command, found));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_worker_is_run_or_asked_about() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let asks = |line: &str| match parse(line).unwrap().command {
            Command::Worker(command) => command.ask.is_some(),
            _ => unreachable!("{line} is a worker's command"),
        };
        assert!(!asks("wavemark worker --token x --server http://127.0.0.1:1"));
        assert!(asks("wavemark worker list"));
        assert!(asks("wavemark worker token here"));
        assert!(parse("wavemark worker --token x list").is_err());
    }

    #[test]
    fn the_manual_names_every_variable_and_no_other() {
        let mut known = BTreeSet::new();
        variables(&Cli::command(), &mut known);
        known.extend(NOT_OPTIONS.map(str::to_owned));
        let words = OPERATING.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_'));
        let named: BTreeSet<String> = words.filter(|word| word.starts_with("WAVEMARK_")).map(str::to_owned).collect();
        assert_eq!(named, known);
    }

    #[test]
    fn the_commands_that_the_manual_names_exist() {
        let root = Cli::command();
        for text in OPERATING.split("`wavemark ").skip(1) {
            let words = text.split(['`', '\n']).next().unwrap_or_default().split_whitespace();
            let mut at = &root;
            for word in words.take_while(|word| word.starts_with(|letter: char| letter.is_ascii_lowercase())) {
                at = at.find_subcommand(word).unwrap_or_else(|| panic!("there is no `{word}` in {}", at.get_name()));
            }
        }
    }
}
