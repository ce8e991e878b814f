//! Database `wavemark` at the target's server: what Wavemark keeps there, with a comment on each table.
//!
//! The server commits at each of these statements, so each can be repeated, and the version is written last.

use wavemark_domain::{Fault, Problem};

use super::fault::problem;
use crate::wire::{Connection, WireError};

/// The version of the database that this program writes and reads.
const VERSION: i32 = 1;

/// Two openings must not make it at once.
const LOCK: &str = "SELECT GET_LOCK('wavemark schema', 60)";
const UNLOCK: &str = "SELECT RELEASE_LOCK('wavemark schema')";

const STATEMENTS: [&str; 9] = [
    "CREATE DATABASE IF NOT EXISTS wavemark CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS wavemark.fence ( \
        task char(36) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, \
        name varchar(255) NOT NULL, \
        generation int NOT NULL, \
        epoch bigint NOT NULL, \
        tombstone boolean NOT NULL DEFAULT false, \
        writers longtext NOT NULL, \
        kind varchar(64), \
        opened_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) \
    ) ENGINE = InnoDB COMMENT 'One row per task: who may write. Every transaction of a task locks its row and checks the \
epoch; opening the target raises the epoch and ends the sessions that hold the locks (GET_LOCK) named in writers. A tombstone \
stays when a task is deleted, so that a late worker cannot revive it.'",
    "CREATE TABLE IF NOT EXISTS wavemark.progress ( \
        task char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
        wave bigint NOT NULL, \
        position varbinary(4096) NOT NULL, \
        position_text text NOT NULL, \
        source_committed_at datetime(6), \
        committed_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
        epoch bigint NOT NULL, \
        PRIMARY KEY (task, wave) \
    ) ENGINE = InnoDB COMMENT 'Bookmarks. Each wave inserts its row in the commit of its changes; the newest counts, a few \
older ones are kept. A source transaction is in the target if and only if it ended at or before the newest position.'",
    "CREATE TABLE IF NOT EXISTS wavemark.tables ( \
        task char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
        source_schema varchar(255) NOT NULL, \
        source_table varchar(255) NOT NULL, \
        target_schema varchar(64) NOT NULL, \
        target_table varchar(64) NOT NULL, \
        stage varchar(16) NOT NULL, \
        began varbinary(4096) NOT NULL, \
        position varbinary(4096) NOT NULL, \
        storage text NOT NULL, \
        made boolean NOT NULL, \
        problem longtext, \
        columns longtext NOT NULL, \
        layout longtext NOT NULL, \
        changed_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), \
        PRIMARY KEY (task, source_schema, source_table) \
    ) ENGINE = InnoDB COMMENT 'One row per table that a task has begun: at which position its load began, as of which one its \
rows are, and how far it is (preparing, loading, loaded, parked, superseded). made says that Wavemark made the target table. \
One that is being prepared may not be there yet; a superseded one holds rows of an earlier load, which the next may remove.'",
    "CREATE TABLE IF NOT EXISTS wavemark.chunks ( \
        task char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
        source_schema varchar(255) NOT NULL, \
        source_table varchar(255) NOT NULL, \
        number int NOT NULL, \
        `range` longtext NOT NULL, \
        `rows` bigint, \
        bytes bigint, \
        done_at datetime(6), \
        PRIMARY KEY (task, source_schema, source_table, number) \
    ) ENGINE = InnoDB COMMENT 'The parts of a table that is being loaded. done_at is set in the commit of the rows.'",
    "CREATE TABLE IF NOT EXISTS wavemark.unfit ( \
        task char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
        source_schema varchar(255) NOT NULL, \
        source_table varchar(255) NOT NULL, \
        source_column varchar(128) NOT NULL, \
        way varchar(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
        part int NOT NULL, \
        `values` bigint NOT NULL, \
        since datetime(6) NOT NULL, \
        PRIMARY KEY (task, source_schema, source_table, source_column, way, part) \
    ) ENGINE = InnoDB COMMENT 'How many values of a column had no place in the target and were written as NULL (null) or as the \
nearest value (clamp), each counted in the commit of its row. part is the number of a chunk, or -1 for all that came later; since \
is when the first came, in UTC by the clock of the worker.'",
    "CREATE TABLE IF NOT EXISTS wavemark.exceptions ( \
        id bigint AUTO_INCREMENT PRIMARY KEY, \
        task char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
        task_name varchar(255) NOT NULL, \
        wave bigint NOT NULL, \
        source_table text NOT NULL, \
        target_table text NOT NULL, \
        kind varchar(16) NOT NULL, \
        `key` longtext NOT NULL, \
        position varbinary(4096), \
        wave_position_text text, \
        code varchar(64) NOT NULL, \
        error text NOT NULL, \
        at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
        KEY (task, wave) \
    ) ENGINE = InnoDB COMMENT 'Rows that could not be applied and were left out, as the settings of the task say, each in the \
commit of its wave. key holds the columns of the key (of a table without a key: all columns) as text.'",
    "CREATE TABLE IF NOT EXISTS wavemark.version (only_row int PRIMARY KEY, version int NOT NULL) ENGINE = InnoDB \
     COMMENT 'The version of this database. A program older than it refuses to write.'",
    "INSERT IGNORE INTO wavemark.version VALUES (1, 1)",
];

/// Makes the database if it is missing, and refuses a newer one.
pub(crate) async fn ensure(connection: &mut Connection) -> Result<(), Problem> {
    let refused = |cause: WireError| {
        problem(&cause, "prepare database wavemark at the target")
            .advice("GRANT ALL ON wavemark.* to the endpoint's user, also to make it and its temporary tables.")
    };
    if let Some(version) = version(connection).await.map_err(refused)? {
        refuse_newer(version)?;
        // It came without a version of its own: a program that does not know it goes on without.
        if has_counts(connection).await.map_err(refused)? {
            return Ok(());
        }
    }
    make(connection).await.map_err(refused)
}

/// A program does not touch what a newer one made.
pub(crate) fn refuse_newer(version: i32) -> Result<(), Problem> {
    if version > VERSION {
        let text = format!(
            "Database wavemark at the target has version {version}; this program knows versions up to {VERSION}."
        );
        return Err(Problem::new(Fault::Settings, "schema-too-new", text).advice("Use a newer worker for this target."));
    }
    Ok(())
}

/// The version of the database that is there.
pub(crate) async fn version(connection: &mut Connection) -> Result<Option<i32>, WireError> {
    match connection.query("SELECT version FROM wavemark.version").await {
        Ok(rows) => Ok(rows.first().and_then(|row| row.number(0))),
        // No such database or table; a user without a right to it is told so when it would be made.
        Err(error) if matches!(error.code(), Some(1044 | 1049 | 1142 | 1146)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn has_counts(connection: &mut Connection) -> Result<bool, WireError> {
    const THERE: &str =
        "SELECT 1 FROM information_schema.tables WHERE table_schema = 'wavemark' AND table_name = 'unfit'";
    Ok(!connection.query(THERE).await?.is_empty())
}

async fn make(connection: &mut Connection) -> Result<(), WireError> {
    connection.query(LOCK).await?;
    let mut made = Ok(());
    for statement in STATEMENTS {
        made = connection.query(statement).await.map(drop);
        if made.is_err() {
            break;
        }
    }
    connection.query(UNLOCK).await?;
    made
}
