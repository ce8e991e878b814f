//! The target on real servers: one of each system for all tests of this program, one database for each test. MySQL's
//! tests want `WAVEMARK_TEST_MYSQL_BIN`, as `make test-mysql` sets it.

mod back;
mod load_data;
mod tables;
mod values;

/// One test for each system of a function over its programs.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test::<wavemark_tests::mariadb::Installed>().await;
            })*
        }

        mod mysql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "wants MySQL 9: make test-mysql"]
            async fn $test() {
                super::$test::<wavemark_tests::mysql::Unpacked>().await;
            })*
        }
    };
}
pub(super) use on_both;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wavemark_domain::{Column, TableName};
use wavemark_tests::mariadb::Installed;
use wavemark_tests::mysql::Unpacked;
use wavemark_tests::mysql_family::{Programs, Server};

use crate::client::WIDE;
use crate::discover;
use crate::wire::{Connection, Login};

/// A system whose server is shared.
pub(super) trait Shared: Programs + Send + 'static {
    fn server() -> &'static Mutex<Weak<Server<Self>>>;
}

impl Shared for Installed {
    fn server() -> &'static Mutex<Weak<Server<Self>>> {
        static SERVER: Mutex<Weak<Server<Installed>>> = Mutex::new(Weak::new());
        &SERVER
    }
}

impl Shared for Unpacked {
    fn server() -> &'static Mutex<Weak<Server<Self>>> {
        static SERVER: Mutex<Weak<Server<Unpacked>>> = Mutex::new(Weak::new());
        &SERVER
    }
}

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database of its own on the shared server, which stops when the last test lets go of it.
pub(super) struct Database<P> {
    server: Arc<Server<P>>,
    pub(super) name: String,
}

impl<P: Shared> Database<P> {
    pub(super) fn new() -> Self {
        let server = {
            let mut shared = P::server().lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let server = Arc::new(started(&["--local-infile=ON", "--max-allowed-packet=64M", "--skip-log-bin"]));
                *shared = Arc::downgrade(&server);
                server
            })
        };
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.execute(&format!("CREATE DATABASE {name}")).unwrap();
        Self { server, name }
    }

    /// What the server's own client shows of a query: a line for each row.
    pub(super) fn shown(&self, sql: &str) -> Vec<String> {
        self.server.rows(&format!("USE {}; {sql}", self.name)).unwrap()
    }

    pub(super) fn run(&self, sql: &str) {
        self.server.execute(&format!("USE {}; {sql}", self.name)).unwrap();
    }

    /// A session in this database.
    pub(super) async fn connect(&self) -> Connection {
        let mut connection = log_in(self.server.port()).await;
        let session = format!("SET time_zone = '+00:00', sql_mode = '{}', NAMES utf8mb4", super::values::SQL_MODE);
        for statement in [&session, WIDE, &format!("USE {}", self.name)] {
            connection.execute(statement).await.unwrap();
        }
        connection
    }

    /// A column of a table as the server tells it.
    pub(super) async fn column(&self, connection: &mut Connection, table: &str, column: &str) -> Column {
        let name = TableName::new(&self.name, table);
        let found = discover::tables(connection, &|one| *one == name).await.unwrap().remove(0);
        found.columns.into_iter().find(|one| one.name == column).unwrap()
    }
}

/// A server that anybody may log in at over TCP.
pub(super) fn started<P: Programs>(options: &[&str]) -> Server<P> {
    let server = Server::start(options).unwrap();
    server.execute("CREATE USER writer; GRANT ALL ON *.* TO writer").unwrap();
    server
}

pub(super) fn login(port: u16) -> Login<'static> {
    Login {
        host: "127.0.0.1",
        port,
        user: "writer",
        password: b"",
        tls: None,
        is_verified: false,
        within: Duration::from_secs(10),
        writes: true,
    }
}

pub(super) async fn log_in(port: u16) -> Connection {
    Connection::open(&login(port)).await.map_err(|error| error.to_string()).unwrap()
}
