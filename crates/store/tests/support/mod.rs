//! A private PostgreSQL cluster for the tests of one binary; it ends with the process, however that ends.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection as _, PgConnection, PgPool};

struct Cluster {
    port: u16,
    // While this process lives, it holds the other end of the shell's standard input.
    _shell: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Makes the cluster, runs it until its standard input ends, removes it.
const SCRIPT: &str = r#"
set -e
bin=$1 port=$2
dir=$(mktemp -d /tmp/wavemark-test-XXXXXX)
"$bin/initdb" -D "$dir/data" -U test -A trust -E UTF8 --locale=C -N >"$dir/initdb.log" 2>&1
"$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 -c fsync=off \
    -c max_connections=300 -c shared_buffers=32MB >"$dir/log" 2>&1 &
pid=$!
for _ in $(seq 100); do "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && break; sleep 0.1; done
echo ready
cat >/dev/null
kill -INT $pid; wait $pid || true
rm -rf "$dir"
"#;

fn programs() -> String {
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL's server programs are installed")
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL's server programs are installed").display().to_string()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn start() -> Cluster {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command.args(["-c", SCRIPT, "sh", &programs(), &port.to_string()]);
    command.current_dir(Path::new("/tmp")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = command.spawn().expect("a shell starts");
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the test cluster did not start");
    Cluster { port, _shell: shell }
}

/// The address of a new, empty database.
pub(crate) async fn database() -> String {
    let port = CLUSTER.get_or_init(start).port;
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(&format!("postgres://test@127.0.0.1:{port}/postgres")).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
    format!("postgres://test@127.0.0.1:{port}/{name}")
}

/// A pool on a new database with the metadata's tables.
#[allow(dead_code, reason = "each test binary takes what it needs")]
pub(crate) async fn metadata() -> PgPool {
    let pool = wavemark_store::pool(&database().await, 8).unwrap();
    wavemark_store::migrate(&pool).await.unwrap();
    pool
}
