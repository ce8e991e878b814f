//! Reads what `pg_recvlogical` writes of pgoutput, as far as a publication of inserts sends it: protocol version 1,
//! "Logical Replication Message Formats" in PostgreSQL's manual. Each message is followed by a newline.
//!
//! Nothing here is shared with the program that is judged by it.

use anyhow::{Result, bail, ensure};

/// A message, of what is needed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The first column of an inserted row, as text.
    Insert(String),
    /// A commit with the end of its record.
    Commit(u64),
    /// Anything else.
    Other,
}

/// Takes the first message off the buffer; `None` until all of it is there.
pub(super) fn take(buffer: &mut Vec<u8>) -> Result<Option<Message>> {
    let mut bytes = Bytes { rest: buffer };
    let Some(message) = message(&mut bytes)? else { return Ok(None) };
    let Some(last) = bytes.take(1) else { return Ok(None) };
    ensure!(last == b"\n", "a message of pg_recvlogical does not end with a newline");
    let used = buffer.len() - bytes.rest.len();
    buffer.drain(..used);
    Ok(Some(message))
}

struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self, length: usize) -> Option<u64> {
        Some(self.take(length)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn length(&mut self, length: usize) -> Option<usize> {
        self.number(length).and_then(|number| usize::try_from(number).ok())
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.rest.iter().position(|&byte| byte == 0)?;
        self.take(length + 1)
    }
}

fn message(bytes: &mut Bytes<'_>) -> Result<Option<Message>> {
    let Some(kind) = bytes.take(1) else { return Ok(None) };
    Ok(match kind {
        b"B" => bytes.take(8 + 8 + 4).map(|_| Message::Other),
        b"C" => commit(bytes),
        b"R" => relation(bytes),
        b"Y" => data_type(bytes),
        b"I" => return insert(bytes),
        other => bail!("pg_recvlogical wrote a message of kind {:?}", String::from_utf8_lossy(other)),
    })
}

fn commit(bytes: &mut Bytes<'_>) -> Option<Message> {
    bytes.take(1 + 8)?;
    let end = bytes.number(8)?;
    bytes.take(8).map(|_| Message::Commit(end))
}

fn relation(bytes: &mut Bytes<'_>) -> Option<Message> {
    bytes.take(4)?;
    bytes.text()?;
    bytes.text()?;
    bytes.take(1)?;
    for _ in 0..bytes.number(2)? {
        bytes.take(1)?;
        bytes.text()?;
        bytes.take(4 + 4)?;
    }
    Some(Message::Other)
}

fn data_type(bytes: &mut Bytes<'_>) -> Option<Message> {
    bytes.take(4)?;
    bytes.text()?;
    bytes.text().map(|_| Message::Other)
}

fn insert(bytes: &mut Bytes<'_>) -> Result<Option<Message>> {
    let Some(columns) = bytes.take(4 + 1).and_then(|_| bytes.number(2)) else { return Ok(None) };
    let mut first = None;
    for number in 0..columns {
        let Some(kind) = bytes.take(1) else { return Ok(None) };
        let value = match kind {
            b"t" => bytes.length(4).and_then(|length| bytes.take(length)),
            b"n" | b"u" => Some([].as_slice()),
            other => bail!("pg_recvlogical wrote a value of kind {:?}", String::from_utf8_lossy(other)),
        };
        let Some(value) = value else { return Ok(None) };
        if number == 0 {
            first = Some(String::from_utf8(value.to_vec())?);
        }
    }
    Ok(first.map(Message::Insert))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transaction of one insert into `s.t (seq, note)`, as PostgreSQL 15 sends it.
    fn transaction() -> Vec<u8> {
        let messages: [&[u8]; 4] = [
            b"B\0\0\0\0\x01\0\0\x10\0\0\0\0\0\0\0\0\0\0\x02\xe7\n",
            b"R\0\0\x40\0s\0t\0d\0\x02\x01seq\0\0\0\0\x14\xff\xff\xff\xff\0note\0\0\0\0\x19\xff\xff\xff\xff\n",
            b"I\0\0\x40\0N\0\x02t\0\0\0\x0242t\0\0\0\x03a\nb\n",
            b"C\0\0\0\0\0\x01\0\0\x10\0\0\0\0\x01\0\0\x38\0\0\0\0\0\0\0\0\n",
        ];
        messages.concat()
    }

    #[test]
    fn a_transaction_is_read_with_the_end_of_its_commit() {
        let mut buffer = transaction();
        let mut messages = Vec::new();
        while let Some(message) = take(&mut buffer).unwrap() {
            messages.push(message);
        }
        let expected = [Message::Other, Message::Other, Message::Insert("42".to_owned()), Message::Commit(0x0100_0038)];
        assert_eq!(messages, expected);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_message_that_is_not_all_there_is_waited_for() {
        let whole = transaction();
        let mut buffer = Vec::new();
        let mut messages = 0;
        for byte in whole {
            buffer.push(byte);
            messages += u32::from(take(&mut buffer).unwrap().is_some());
        }
        assert_eq!(messages, 4);
    }

    #[test]
    fn a_kind_that_a_publication_of_inserts_never_sends_is_an_error() {
        assert!(take(&mut b"U\0\0\x40\0".to_vec()).is_err());
    }
}
