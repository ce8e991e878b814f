//! Commits that take long, so that something can happen in the middle of one.

use anyhow::Result;

use super::{Kind, System};

impl System {
    /// Has each commit wait for a tenth of a second between its record and the flush of it. A server of MySQL's family that
    /// is started anew waits no more.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn slow_commits(&self) -> Result<()> {
        let statements: &[&str] = match self.kind() {
            Kind::Postgres => &[
                "alter system set commit_delay = 100000",
                "alter system set commit_siblings = 0",
                "select pg_reload_conf()",
            ],
            Kind::Mariadb => &["SET GLOBAL binlog_commit_wait_count = 1000, GLOBAL binlog_commit_wait_usec = 100000"],
            Kind::Mysql => &["SET GLOBAL binlog_group_commit_sync_delay = 100000"],
        };
        self.each(statements).await
    }

    /// Lets commits go on as before, after a restart.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn ordinary_commits(&self) -> Result<()> {
        if self.kind().is_family() {
            return Ok(());
        }
        self.each(&["alter system reset commit_delay", "alter system reset commit_siblings", "select pg_reload_conf()"])
            .await
    }

    async fn each(&self, statements: &[&str]) -> Result<()> {
        let mut session = self.back_door().open().await?;
        for statement in statements {
            session.rows(statement).await?;
        }
        Ok(())
    }
}
