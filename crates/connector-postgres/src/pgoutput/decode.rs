//! From bytes to a [`Message`].

use super::message::Column;
use super::reader::Reader;
use super::tuple::marked;
use super::{
    Begin, Columns, Commit, DecodeError, Delete, Insert, LogicalMessage, Message, OldRow, Origin, Reason, RelationBody,
    RelationIds, ReplicaIdentity, StreamAbort, StreamCommit, StreamStart, Truncate, Tuple, TypeBody, Update,
};

/// Decodes one message, the payload of one `XLogData`.
///
/// `in_stream` says whether the message lies between a [`Message::StreamStart`] and its [`Message::StreamStop`]:
/// there, and only there, changes carry the number of their (sub)transaction. Nothing is copied or allocated.
///
/// # Errors
/// When the bytes are no whole message of protocol version 1 or 2, or more than one.
#[inline]
pub fn decode(data: &[u8], in_stream: bool) -> Result<Message<'_>, DecodeError> {
    let mut reader = Reader::new(data, "message");
    let tag = reader.u8("the kind of message")?;
    reader.set_message(name(tag));
    let message = body(tag, &mut reader, in_stream)?;
    reader.end()?;
    Ok(message)
}

/// The manual's name of a message.
fn name(tag: u8) -> &'static str {
    match tag {
        b'B' => "Begin",
        b'C' => "Commit",
        b'O' => "Origin",
        b'R' => "Relation",
        b'Y' => "Type",
        b'I' => "Insert",
        b'U' => "Update",
        b'D' => "Delete",
        b'T' => "Truncate",
        b'M' => "Message",
        b'S' => "Stream Start",
        b'E' => "Stream Stop",
        b'c' => "Stream Commit",
        b'A' => "Stream Abort",
        b'b' => "Begin Prepare",
        b'P' => "Prepare",
        b'K' => "Commit Prepared",
        b'r' => "Rollback Prepared",
        b'p' => "Stream Prepare",
        _ => "message",
    }
}

#[inline]
fn body<'a>(tag: u8, reader: &mut Reader<'a>, in_stream: bool) -> Result<Message<'a>, DecodeError> {
    let xid = match tag {
        b'I' | b'U' | b'D' | b'R' | b'Y' | b'T' | b'M' if in_stream => Some(reader.u32("the transaction")?),
        _ => None,
    };
    Ok(match tag {
        b'I' => Message::Insert(xid, insert(reader)?),
        b'U' => Message::Update(xid, update(reader)?),
        b'D' => Message::Delete(xid, delete(reader)?),
        b'B' => Message::Begin(begin(reader)?),
        b'C' => Message::Commit(commit(reader)?),
        b'R' => Message::Relation(xid, relation(reader)?),
        b'Y' => Message::Type(xid, type_body(reader)?),
        b'T' => Message::Truncate(xid, truncate(reader)?),
        b'M' => Message::LogicalMessage(xid, logical_message(reader)?),
        b'O' => Message::Origin(Origin { lsn: reader.u64("its position")?, name: reader.string("its name")? }),
        b'S' => Message::StreamStart(stream_start(reader)?),
        b'E' => Message::StreamStop,
        b'c' => Message::StreamCommit(stream_commit(reader)?),
        b'A' => Message::StreamAbort(StreamAbort {
            xid: reader.u32("the transaction")?,
            subxid: reader.u32("the subtransaction")?,
        }),
        b'b' | b'P' | b'K' | b'r' | b'p' => return Err(at_tag(reader, Reason::NotRequested)),
        other => return Err(at_tag(reader, Reason::UnknownMessage(other))),
    })
}

#[cold]
fn at_tag(reader: &Reader<'_>, reason: Reason) -> DecodeError {
    DecodeError { at: 0, ..reader.error(reason) }
}

#[inline]
fn insert<'a>(reader: &mut Reader<'a>) -> Result<Insert<'a>, DecodeError> {
    Ok(Insert { relation: reader.u32("the relation")?, new: marked(reader, b'N')? })
}

#[inline]
fn update<'a>(reader: &mut Reader<'a>) -> Result<Update<'a>, DecodeError> {
    let relation = reader.u32("the relation")?;
    let old = match reader.u8("the mark of a row")? {
        b'N' => return Ok(Update { relation, old: None, new: Tuple::read(reader)? }),
        b'K' => OldRow::Key(Tuple::read(reader)?),
        b'O' => OldRow::Full(Tuple::read(reader)?),
        other => return Err(reader.unexpected("the mark of a row", other)),
    };
    Ok(Update { relation, old: Some(old), new: marked(reader, b'N')? })
}

#[inline]
fn delete<'a>(reader: &mut Reader<'a>) -> Result<Delete<'a>, DecodeError> {
    let relation = reader.u32("the relation")?;
    let old = match reader.u8("the mark of a row")? {
        b'K' => OldRow::Key(Tuple::read(reader)?),
        b'O' => OldRow::Full(Tuple::read(reader)?),
        other => return Err(reader.unexpected("the mark of a row", other)),
    };
    Ok(Delete { relation, old })
}

fn begin(reader: &mut Reader<'_>) -> Result<Begin, DecodeError> {
    Ok(Begin {
        final_lsn: reader.u64("the final position")?,
        time: reader.i64("the commit time")?,
        xid: reader.u32("the transaction")?,
    })
}

fn commit(reader: &mut Reader<'_>) -> Result<Commit, DecodeError> {
    reader.u8("the flags")?;
    Ok(Commit {
        commit_lsn: reader.u64("the commit position")?,
        end_lsn: reader.u64("the end position")?,
        time: reader.i64("the commit time")?,
    })
}

fn stream_commit(reader: &mut Reader<'_>) -> Result<StreamCommit, DecodeError> {
    let xid = reader.u32("the transaction")?;
    let Commit { commit_lsn, end_lsn, time } = commit(reader)?;
    Ok(StreamCommit { xid, commit_lsn, end_lsn, time })
}

fn stream_start(reader: &mut Reader<'_>) -> Result<StreamStart, DecodeError> {
    let xid = reader.u32("the transaction")?;
    let first = match reader.u8("the mark of the first chunk")? {
        0 => false,
        1 => true,
        other => return Err(reader.unexpected("the mark of the first chunk", other)),
    };
    Ok(StreamStart { xid, first })
}

fn relation<'a>(reader: &mut Reader<'a>) -> Result<RelationBody<'a>, DecodeError> {
    Ok(RelationBody {
        id: reader.u32("the relation")?,
        namespace: reader.string("the schema")?,
        name: reader.string("the name")?,
        replica_identity: replica_identity(reader)?,
        columns: columns(reader)?,
    })
}

fn replica_identity(reader: &mut Reader<'_>) -> Result<ReplicaIdentity, DecodeError> {
    match reader.u8("the replica identity")? {
        b'd' => Ok(ReplicaIdentity::Default),
        b'n' => Ok(ReplicaIdentity::Nothing),
        b'f' => Ok(ReplicaIdentity::Full),
        b'i' => Ok(ReplicaIdentity::Index),
        other => Err(reader.unexpected("the replica identity", other)),
    }
}

fn columns<'a>(reader: &mut Reader<'a>) -> Result<Columns<'a>, DecodeError> {
    let count = reader.count16("the number of columns")?;
    let start = reader.at();
    for _ in 0..count {
        Column::read(reader)?;
    }
    Ok(Columns { count, bytes: reader.since(start) })
}

fn type_body<'a>(reader: &mut Reader<'a>) -> Result<TypeBody<'a>, DecodeError> {
    Ok(TypeBody {
        id: reader.u32("the type")?,
        namespace: reader.string("the schema")?,
        name: reader.string("the name")?,
    })
}

fn truncate<'a>(reader: &mut Reader<'a>) -> Result<Truncate<'a>, DecodeError> {
    let count = reader.count32("the number of relations")?;
    let options = reader.u8("the options")?;
    let ids = reader.bytes(count.saturating_mul(4), "the relations")?;
    let (relations, _) = ids.as_chunks::<4>();
    Ok(Truncate { cascade: options & 1 != 0, restart_identity: options & 2 != 0, relations: RelationIds(relations) })
}

fn logical_message<'a>(reader: &mut Reader<'a>) -> Result<LogicalMessage<'a>, DecodeError> {
    let flags = reader.u8("the flags")?;
    let lsn = reader.u64("its position")?;
    let prefix = reader.string("its prefix")?;
    let length = reader.count32("the length of its content")?;
    Ok(LogicalMessage { transactional: flags & 1 != 0, lsn, prefix, content: reader.bytes(length, "its content")? })
}
