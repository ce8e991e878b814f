//! Servers that copy another one and take its place, by the numbers that their transactions have (GTIDs).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Programs, Server};
use crate::mariadb::Installed;
use crate::mysql::{Unpacked, WithKeyring};

/// What the systems call otherwise.
pub trait Copies: Programs {
    /// What has a server number its transactions and log those that it copies; each needs a `--server-id` of its own.
    const NUMBERED: &[&str];
    /// Has a server copy from the one that listens at `{port}`, as the user `copier`.
    const COPY: &str;
    /// Has it copy no longer.
    const PROMOTE: &str;
    /// Asks for the name by which the server tells its log from others'.
    const NAME: &str;
    /// Asks for the numbers of all that a server has.
    const HAS: &str;
}

impl Copies for Installed {
    const NUMBERED: &[&str] = &["--log-slave-updates=ON"];
    const COPY: &str = "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'copier', \
        MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = current_pos; START SLAVE";
    const PROMOTE: &str = "STOP SLAVE; RESET SLAVE ALL";
    const NAME: &str = "SELECT @@server_uid";
    const HAS: &str = "SELECT @@gtid_binlog_pos";
}

impl Copies for Unpacked {
    const NUMBERED: &[&str] = &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"];
    const COPY: &str = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
        SOURCE_USER = 'copier', SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0, SOURCE_AUTO_POSITION = 1, \
        GET_SOURCE_PUBLIC_KEY = 1; START REPLICA";
    const PROMOTE: &str = "STOP REPLICA; RESET REPLICA ALL";
    const NAME: &str = "SELECT @@server_uuid";
    const HAS: &str = "SELECT REPLACE(@@global.gtid_executed, '\\n', '')";
}

impl Copies for WithKeyring {
    const NUMBERED: &[&str] = Unpacked::NUMBERED;
    const COPY: &str = Unpacked::COPY;
    const PROMOTE: &str = Unpacked::PROMOTE;
    const NAME: &str = Unpacked::NAME;
    const HAS: &str = Unpacked::HAS;
}

impl<P: Copies> Server<P> {
    /// Makes the user by whom others copy from it.
    ///
    /// # Errors
    /// It refuses.
    pub fn let_copy(&self) -> Result<()> {
        self.execute("CREATE USER copier@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO copier@'127.0.0.1'")
    }

    /// Begins to copy another one.
    ///
    /// # Errors
    /// It refuses.
    pub fn copy(&self, of: &Self) -> Result<()> {
        self.execute(&P::COPY.replace("{port}", &of.port().to_string()))
    }

    /// Takes the place of the one that it copied.
    ///
    /// # Errors
    /// It refuses.
    pub fn promote(&self) -> Result<()> {
        self.execute(P::PROMOTE)
    }

    /// Waits until it has everything that the other one has, which nobody writes to meanwhile.
    ///
    /// # Errors
    /// It does not within a minute, or has something else.
    pub fn wait_for_all(&self, of: &Self) -> Result<()> {
        let (wanted, end) = (of.rows(P::HAS)?, Instant::now() + Duration::from_mins(1));
        loop {
            let has = self.rows(P::HAS)?;
            if has == wanted {
                return Ok(());
            }
            ensure!(Instant::now() < end, "a copy has {has:?} of {wanted:?}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}
