//! The messages, borrowed from the bytes that they came in.

use super::reader::Reader;
use super::{DecodeError, Tuple};

/// One message of the stream.
///
/// Where a message is part of a transaction that is streamed while in progress, `xid` is the number of the
/// transaction *or subtransaction* that it belongs to; outside of such chunks it is `None`.
/// Positions are plain numbers of the log; times are microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A committed transaction starts.
    Begin(Begin),
    /// It ends.
    Commit(Commit),
    /// The transaction was replicated to the source from elsewhere.
    Origin(Origin<'a>),
    /// What a table looks like from here on; sent before its first change and after each change of its shape.
    Relation(Option<u32>, RelationBody<'a>),
    /// A type that is not built in, before the first relation that uses it.
    Type(Option<u32>, TypeBody<'a>),
    /// A row came.
    Insert(Option<u32>, Insert<'a>),
    /// A row changed.
    Update(Option<u32>, Update<'a>),
    /// A row went.
    Delete(Option<u32>, Delete<'a>),
    /// Tables were emptied.
    Truncate(Option<u32>, Truncate<'a>),
    /// What `pg_logical_emit_message` wrote. A message that isn't transactional comes outside of any transaction.
    LogicalMessage(Option<u32>, LogicalMessage<'a>),
    /// A chunk of a transaction in progress starts.
    StreamStart(StreamStart),
    /// The chunk ends; the transaction goes on.
    StreamStop,
    /// A transaction that came in chunks has committed.
    StreamCommit(StreamCommit),
    /// A transaction that came in chunks, or one subtransaction of it, was rolled back.
    StreamAbort(StreamAbort),
}

/// The start of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Position of the transaction's commit record.
    pub final_lsn: u64,
    /// When it was committed.
    pub time: i64,
    /// Its number.
    pub xid: u32,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Position of the commit record.
    pub commit_lsn: u64,
    /// Position after the commit record: the transaction's place in the log.
    pub end_lsn: u64,
    /// When it was committed.
    pub time: i64,
}

/// Where a transaction came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The commit's position on the server of origin.
    pub lsn: u64,
    /// The origin's name.
    pub name: &'a str,
}

/// What the log holds of an updated or deleted row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// `d`: the primary key.
    Default,
    /// `n`: nothing.
    Nothing,
    /// `f`: the whole row.
    Full,
    /// `i`: the columns of a chosen index.
    Index,
}

/// The shape of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationBody<'a> {
    /// The table's OID, which its changes carry.
    pub id: u32,
    /// The schema; the server leaves it empty for `pg_catalog`.
    pub namespace: &'a str,
    /// The table's name.
    pub name: &'a str,
    /// What old rows hold.
    pub replica_identity: ReplicaIdentity,
    /// The published columns.
    pub columns: Columns<'a>,
}

/// The same, kept for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRelation {
    id: u32,
    namespace: String,
    name: String,
    replica_identity: ReplicaIdentity,
    count: u16,
    columns: Vec<u8>,
}

impl From<&RelationBody<'_>> for OwnedRelation {
    fn from(relation: &RelationBody<'_>) -> Self {
        Self {
            id: relation.id,
            namespace: relation.namespace.to_owned(),
            name: relation.name.to_owned(),
            replica_identity: relation.replica_identity,
            count: relation.columns.count,
            columns: relation.columns.bytes.to_vec(),
        }
    }
}

impl OwnedRelation {
    /// As it came.
    #[must_use]
    pub fn body(&self) -> RelationBody<'_> {
        RelationBody {
            id: self.id,
            namespace: &self.namespace,
            name: &self.name,
            replica_identity: self.replica_identity,
            columns: Columns { count: self.count, bytes: &self.columns },
        }
    }
}

/// A column of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Whether it is part of the replica identity.
    pub key: bool,
    /// Its name.
    pub name: &'a str,
    /// Its type's OID.
    pub type_id: u32,
    /// Its type modifier, -1 for none.
    pub modifier: i32,
}

/// The columns of a relation, walked lazily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns<'a> {
    pub(super) count: u16,
    // Invariant: exactly `count` well-formed columns, which the decoder has walked.
    pub(super) bytes: &'a [u8],
}

impl<'a> Columns<'a> {
    /// How many columns there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    pub fn iter(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes, "Relation");
        (0..self.count).map_while(move |_| Column::read(&mut reader).ok())
    }
}

impl<'a> Column<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let flags = reader.u8("the flags of a column")?;
        Ok(Self {
            key: flags & 1 != 0,
            name: reader.string("the name of a column")?,
            type_id: reader.u32("the type of a column")?,
            modifier: reader.i32("the type modifier of a column")?,
        })
    }
}

/// A type that is not built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeBody<'a> {
    /// Its OID.
    pub id: u32,
    /// Its schema; empty for `pg_catalog`.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The table's OID.
    pub relation: u32,
    /// The row.
    pub new: Tuple<'a>,
}

/// What is known of a row before its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldRow<'a> {
    /// `K`: the replica identity's columns; the others are null.
    Key(Tuple<'a>),
    /// `O`: the whole row (replica identity full).
    Full(Tuple<'a>),
}

/// A changed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// The table's OID.
    pub relation: u32,
    /// The row before; absent when the key did not change and the replica identity isn't full.
    pub old: Option<OldRow<'a>>,
    /// The row after.
    pub new: Tuple<'a>,
}

/// A deleted row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The table's OID.
    pub relation: u32,
    /// The row before.
    pub old: OldRow<'a>,
}

/// Emptied tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// `CASCADE` was said.
    pub cascade: bool,
    /// `RESTART IDENTITY` was said.
    pub restart_identity: bool,
    /// The tables' OIDs.
    pub relations: RelationIds<'a>,
}

/// The OIDs of truncated tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationIds<'a>(pub(super) &'a [[u8; 4]]);

impl<'a> RelationIds<'a> {
    /// The OIDs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// A message of `pg_logical_emit_message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// Whether it belongs to the transaction around it.
    pub transactional: bool,
    /// Its position.
    pub lsn: u64,
    /// Its prefix.
    pub prefix: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

/// The start of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction's number.
    pub xid: u32,
    /// Whether this is the transaction's first chunk.
    pub first: bool,
}

/// The commit of a transaction that came in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction's number.
    pub xid: u32,
    /// Position of the commit record.
    pub commit_lsn: u64,
    /// Position after the commit record.
    pub end_lsn: u64,
    /// When it was committed.
    pub time: i64,
}

/// The rollback of what came in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction's number.
    pub xid: u32,
    /// The subtransaction that was rolled back; equal to `xid` when all of it was.
    pub subxid: u32,
}
