//! The commands of the replication protocol (manual: protocol-replication).

use super::connection::unexpected;
use super::stream::ReplicationStream;
use super::{Connection, Lsn, Row, WireError, backend};

/// What `IDENTIFY_SYSTEM` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster's identifier, made by initdb and shared by its physical standbys.
    pub system_id: u64,
    /// The current timeline.
    pub timeline: u32,
    /// The end of the flushed log.
    pub flushed: Lsn,
    /// The connected database.
    pub database: Option<String>,
}

/// What becomes of the snapshot that a new slot has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotSnapshot {
    /// It is exported for other sessions to import. It lives until the next command on this connection.
    Export,
    /// It is let go.
    Nothing,
}

/// How long a slot lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotLife {
    /// It goes with its connection.
    Temporary,
    /// Until it is dropped.
    Permanent,
    /// The same, also on the standbys that keep up with this server's slots (`sync_replication_slots`), so that one of
    /// them can take over. For servers that are no standby; before version 17 it is [`Self::Permanent`].
    Failover,
}

/// A slot that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Its name.
    pub name: String,
    /// Where streaming can begin: the snapshot sees exactly the transactions that committed before.
    pub consistent_point: Lsn,
    /// The exported snapshot's name.
    pub snapshot: Option<String>,
}

/// Which transactions in progress the server sends before they commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// None: the server keeps large ones on its own disk.
    Off,
    /// Those above `logical_decoding_work_mem` (PostgreSQL 14 and newer).
    On,
}

/// What is asked of pgoutput (manual: protocol-logical-replication, "Logical Streaming Replication Parameters").
#[derive(Clone, Debug)]
pub struct PgoutputOptions {
    /// The publications, at least one.
    pub publications: Vec<String>,
    /// Values in binary form where the type has one (PostgreSQL 14 and newer).
    pub binary: bool,
    /// Large transactions before their commit.
    pub streaming: Streaming,
    /// What `pg_logical_emit_message` writes (PostgreSQL 14 and newer).
    pub messages: bool,
}

impl PgoutputOptions {
    /// The options as `START_REPLICATION` takes them. What an older server doesn't know is left out when it is off.
    fn render(&self) -> String {
        let names: Vec<_> = self.publications.iter().map(|name| quote_identifier(name)).collect();
        let version = if self.streaming == Streaming::On { "2" } else { "1" };
        let mut options = vec![("proto_version", version.to_owned()), ("publication_names", names.join(","))];
        let switches =
            [("binary", self.binary), ("streaming", self.streaming == Streaming::On), ("messages", self.messages)];
        options.extend(switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "true".to_owned())));
        let rendered: Vec<_> = options.iter().map(|(name, value)| format!("{name} {}", literal(value))).collect();
        rendered.join(", ")
    }
}

impl Connection {
    /// Asks who the server is.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, WireError> {
        let row = self.one_row("IDENTIFY_SYSTEM").await?;
        Ok(SystemIdentity {
            system_id: field(&row, 0)?,
            timeline: field(&row, 1)?,
            flushed: field(&row, 2)?,
            database: row.text(3).map(str::to_owned),
        })
    }

    /// The history file of a timeline: where it and those before it branched off. Timeline 1 has none.
    ///
    /// # Errors
    /// As [`Connection::query`]; SQLSTATE 58P01 when the server has no such file.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<Vec<u8>, WireError> {
        let row = self.one_row(&format!("TIMELINE_HISTORY {timeline}")).await?;
        row.bytes(1).map(<[u8]>::to_vec).ok_or_else(|| WireError::Protocol("a timeline without history".to_owned()))
    }

    /// Makes a logical slot for pgoutput. Waits for the transactions that are running.
    ///
    /// # Errors
    /// As [`Connection::query`]; SQLSTATE 42710 when the name is taken, 53400 when no slot is left, 55000 when
    /// `wal_level` is not logical.
    pub async fn create_slot(
        &mut self,
        name: &str,
        life: SlotLife,
        snapshot: SlotSnapshot,
    ) -> Result<CreatedSlot, WireError> {
        let options = options(self.server_major(), life, snapshot);
        let temporary = if life == SlotLife::Temporary { " TEMPORARY" } else { "" };
        let slot = quote_identifier(name);
        let row =
            self.one_row(&format!("CREATE_REPLICATION_SLOT {slot}{temporary} LOGICAL pgoutput {options}")).await?;
        Ok(CreatedSlot {
            name: name.to_owned(),
            consistent_point: field(&row, 1)?,
            snapshot: row.text(2).map(str::to_owned),
        })
    }

    /// Drops a slot. With `wait`, waits until nobody uses it; else a slot in use is an error (SQLSTATE 55006).
    ///
    /// # Errors
    /// As [`Connection::query`]; SQLSTATE 42704 when there is no such slot.
    pub async fn drop_slot(&mut self, name: &str, wait: bool) -> Result<(), WireError> {
        let wait = if wait { " WAIT" } else { "" };
        self.query(&format!("DROP_REPLICATION_SLOT {}{wait}", quote_identifier(name))).await.map(drop)
    }

    /// Begins to stream from a slot; the connection does nothing else from then on.
    ///
    /// The server starts at `from` or at the slot's confirmed position, *whichever is later*, in silence: the
    /// caller compares the two before (a position below the confirmed one is lost).
    ///
    /// # Errors
    /// The server's error: SQLSTATE 42704 without such a slot, 55006 while another session uses it, 55000 when it
    /// was invalidated. A missing publication only shows in the stream.
    pub async fn start_replication(
        mut self,
        slot: &str,
        from: Lsn,
        options: &PgoutputOptions,
    ) -> Result<ReplicationStream, WireError> {
        let slot = quote_identifier(slot);
        self.send_query(&format!("START_REPLICATION SLOT {slot} LOGICAL {from} ({})", options.render())).await?;
        match self.receive().await? {
            (b'W', _) => Ok(ReplicationStream::new(self.socket, self.buffer)),
            (b'E', body) => Err(backend::error(&body)?.into()),
            (other, _) => Err(unexpected(other)),
        }
    }

    async fn one_row(&mut self, command: &str) -> Result<Row, WireError> {
        let answers = self.query(command).await?;
        let row = answers.into_iter().flat_map(|rows| rows.rows).next();
        row.ok_or_else(|| WireError::Protocol("a command without an answer".to_owned()))
    }
}

/// Version 15 made the options a list; the older spelling is the only one before.
fn options(major: u32, life: SlotLife, snapshot: SlotSnapshot) -> String {
    let snapshot = match (major >= 15, snapshot) {
        (true, SlotSnapshot::Export) => "SNAPSHOT 'export'",
        (true, SlotSnapshot::Nothing) => "SNAPSHOT 'nothing'",
        (false, SlotSnapshot::Export) => return "EXPORT_SNAPSHOT".to_owned(),
        (false, SlotSnapshot::Nothing) => return "NOEXPORT_SNAPSHOT".to_owned(),
    };
    let failover = if major >= 17 && life == SlotLife::Failover { ", FAILOVER true" } else { "" };
    format!("({snapshot}{failover})")
}

fn field<T: std::str::FromStr>(row: &Row, column: usize) -> Result<T, WireError> {
    row.text(column)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| WireError::Protocol(format!("an answer whose column {} can't be read", column + 1)))
}

/// A name as an identifier of the replication commands and of `publication_names`.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_asked_for_in_the_servers_own_words() {
        assert_eq!(options(14, SlotLife::Failover, SlotSnapshot::Export), "EXPORT_SNAPSHOT");
        assert_eq!(options(16, SlotLife::Failover, SlotSnapshot::Nothing), "(SNAPSHOT 'nothing')");
        assert_eq!(options(17, SlotLife::Failover, SlotSnapshot::Export), "(SNAPSHOT 'export', FAILOVER true)");
        assert_eq!(options(18, SlotLife::Permanent, SlotSnapshot::Export), "(SNAPSHOT 'export')");
    }

    #[test]
    fn names_with_quotes_stay_names() {
        let options = PgoutputOptions {
            publications: vec!["plain".to_owned(), "it's \"odd\", yes".to_owned()],
            binary: true,
            streaming: Streaming::On,
            messages: false,
        };
        assert_eq!(
            options.render(),
            r#"proto_version '2', publication_names '"plain","it''s ""odd"", yes"', binary 'true', streaming 'true'"#
        );
    }

    #[test]
    fn an_old_server_is_asked_for_nothing_new() {
        let options = PgoutputOptions {
            publications: vec!["p".to_owned()],
            binary: false,
            streaming: Streaming::Off,
            messages: false,
        };
        assert_eq!(options.render(), r#"proto_version '1', publication_names '"p"'"#);
    }
}
