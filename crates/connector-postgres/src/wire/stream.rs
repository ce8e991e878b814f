//! The stream of a slot (manual: protocol-replication, `START_REPLICATION`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use super::buffer::{Item, ReadBuffer};
use super::connection::unexpected;
use super::socket::Socket;
use super::{Lsn, WireError, backend};

/// Microseconds from 1970 to 2000, where the server's clock starts.
const EPOCH_OFFSET: i64 = 946_684_800_000_000;

/// A running stream. Its halves may be borrowed or moved apart: one reads while the other reports.
///
/// Keepalives: the server ends a stream on which it hears nothing for `wal_sender_timeout` (60 s by default), also
/// when that is because the reader waits for its target. So whoever holds the [`StatusSender`] reports every few
/// seconds, whether or not anything is read, and at once when a [`Frame::Keepalive`] asks for it.
pub struct ReplicationStream {
    /// What comes.
    pub reader: StreamReader,
    /// What is reported.
    pub sender: StatusSender,
}

/// The reading half.
pub struct StreamReader {
    socket: ReadHalf<Socket>,
    buffer: ReadBuffer,
    ended: bool,
    unhurried: Arc<AtomicBool>,
}

/// The reporting half.
pub struct StatusSender {
    socket: WriteHalf<Socket>,
    // What was begun but not wholly written goes first, so that a cancelled report never tears the framing.
    out: BytesMut,
}

/// One message of the stream, borrowed from the read buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One message of the output plugin.
    XLogData {
        /// Where it is in the log. For pgoutput: the change's or the commit's position; 0 for some messages.
        start: Lsn,
        /// The end of the log on the server when it was sent.
        end: Lsn,
        /// The server's clock then, in microseconds since 2000-01-01 00:00 UTC.
        clock: i64,
        /// The message.
        data: &'a [u8],
    },
    /// A message of the output plugin that is larger than allowed ([`StreamReader::set_most`]): its beginning.
    Beginning {
        /// Where it is in the log.
        start: Lsn,
        /// The server's clock when it was sent.
        clock: i64,
        /// The first few kilobytes of the message.
        data: &'a [u8],
        /// How many bytes the message has.
        size: usize,
    },
    /// The server is there, and has looked at the log up to here.
    Keepalive {
        /// All that committed before is sent.
        end: Lsn,
        /// The server's clock.
        clock: i64,
        /// The server wants a report at once.
        reply_requested: bool,
    },
    /// The server ends the stream: it shuts down, or it agrees to the end that was asked for.
    End,
}

impl std::fmt::Debug for Frame<'_> {
    /// Row values stay out of logs: of the data only its length is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::XLogData { start, end, data, .. } => write!(f, "XLogData({start}, {end}, {} bytes)", data.len()),
            Self::Beginning { start, size, .. } => write!(f, "Beginning({start}, of {size} bytes)"),
            Self::Keepalive { end, reply_requested, .. } => write!(f, "Keepalive({end}, {reply_requested})"),
            Self::End => f.write_str("End"),
        }
    }
}

impl ReplicationStream {
    pub(super) fn new(socket: Socket, buffer: ReadBuffer) -> Self {
        socket.stream().streams();
        let unhurried = socket.stream().unhurried();
        let (read, write) = tokio::io::split(socket);
        Self {
            reader: StreamReader { socket: read, buffer, ended: false, unhurried },
            sender: StatusSender { socket: write, out: BytesMut::new() },
        }
    }

    /// Ends the stream in agreement with the server, throwing away what it still sends; then the slot is free.
    ///
    /// In the middle of a large transaction the server agrees only at its end: callers bound the time, and drop the
    /// stream when it is over.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn finish(mut self) -> Result<(), WireError> {
        frontend::copy_done(&mut self.sender.out);
        self.sender.flush().await?;
        self.reader.drain().await?;
        frontend::terminate(&mut self.sender.out);
        self.sender.flush().await?;
        Ok(self.sender.socket.shutdown().await?)
    }
}

impl StreamReader {
    /// Says whether the caller fills every few milliseconds, as while it is behind: then nothing is woken by each piece that
    /// comes in between.
    pub fn is_unhurried(&self, unhurried: bool) {
        self.unhurried.store(unhurried, Ordering::Relaxed);
    }

    /// Waits for bytes and takes all that are at hand, up to the buffer's size; gives how many it took.
    ///
    /// The caller decides when: while it is behind, pauses between fills let the server work in gulps,
    /// which costs it less than half the time per change than one message at a time. Cancel safe. Frames not taken yet stay.
    ///
    /// # Errors
    /// When the connection breaks, or the stream has ended.
    pub async fn fill(&mut self) -> Result<usize, WireError> {
        if self.ended {
            return Err(WireError::Closed);
        }
        self.buffer.fill(&mut self.socket).await
    }

    /// The next whole message at hand; `None` asks for another [`Self::fill`].
    ///
    /// # Errors
    /// The server's error, or bytes that the protocol doesn't allow. The stream is over then.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        while let Some(item) = self.buffer.next_item()? {
            let (kind, range) = match item {
                Item::Whole(kind, range) => (kind, range),
                Item::Beginning(kind, range, size) => return self.beginning(kind, range, size).map(Some),
            };
            match kind {
                b'd' => return frame(self.buffer.body(range)).map(Some),
                b'c' | b'C' => {
                    self.ended = true;
                    return Ok(Some(Frame::End));
                }
                b'E' => {
                    self.ended = true;
                    return Err(backend::error(self.buffer.body(range))?.into());
                }
                b'N' => {
                    if let Some(error) = backend::skipped(self.buffer.body(range))? {
                        self.ended = true;
                        return Err(error.into());
                    }
                }
                // A changed parameter.
                b'S' => {}
                other => return Err(unexpected(other)),
            }
        }
        Ok(None)
    }

    /// Of larger messages of the output plugin only the beginning is given.
    pub fn set_most(&mut self, bytes: usize) {
        self.buffer.set_most_whole(bytes);
    }

    /// Gives back the memory of a large message; frames that were not taken yet stay.
    pub fn release(&mut self) {
        self.buffer.release();
    }

    #[cold]
    fn beginning(&self, kind: u8, range: std::ops::Range<usize>, size: usize) -> Result<Frame<'_>, WireError> {
        match (kind, frame(self.buffer.body(range.clone()))) {
            (b'd', Ok(Frame::XLogData { start, clock, data, .. })) => {
                let size = size - (range.len() - data.len());
                Ok(Frame::Beginning { start, clock, data, size })
            }
            _ => Err(WireError::Protocol(format!("a message of {size} bytes that is no row"))),
        }
    }

    /// Reads to the server's `ReadyForQuery`, or to the end where the server shuts down instead.
    async fn drain(&mut self) -> Result<(), WireError> {
        loop {
            match self.buffer.next()? {
                Some((b'Z', _)) => return Ok(()),
                Some((b'E', range)) => return Err(backend::error(self.buffer.body(range))?.into()),
                Some((b'c' | b'C', _)) => self.ended = true,
                Some(_) => {}
                None => match self.buffer.fill(&mut self.socket).await {
                    Err(WireError::Closed) if self.ended => return Ok(()),
                    other => drop(other?),
                },
            }
        }
    }
}

impl StatusSender {
    /// Reports how far the log was taken (`write`), is durable (`flush`) and visible (`apply`). The server forgets
    /// what lies before `flush`: never report more than the target's bookmark. With `reply` the server answers
    /// with a keepalive at once.
    ///
    /// Cancel safe: a report that was begun is finished before the next.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn standby_status(&mut self, write: Lsn, flush: Lsn, apply: Lsn, reply: bool) -> Result<(), WireError> {
        self.out.put_u8(b'd');
        self.out.put_i32(4 + 34);
        self.out.put_u8(b'r');
        for lsn in [write, flush, apply] {
            self.out.put_u64(lsn.0);
        }
        self.out.put_i64(clock());
        self.out.put_u8(u8::from(reply));
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.socket.write_all_buf(&mut self.out).await?;
        Ok(self.socket.flush().await?)
    }
}

/// The body of a `CopyData`.
#[inline]
fn frame(body: &[u8]) -> Result<Frame<'_>, WireError> {
    match body {
        [b'w', rest @ ..] => {
            if let Some((head, data)) = rest.split_first_chunk::<24>() {
                let [start, end, clock] = words(head);
                return Ok(Frame::XLogData { start: Lsn(start), end: Lsn(end), clock: clock.cast_signed(), data });
            }
        }
        [b'k', rest @ ..] => {
            if let Some((head, [reply])) = rest.split_first_chunk::<16>() {
                let [end, clock] = words(head);
                let reply_requested = *reply != 0;
                return Ok(Frame::Keepalive { end: Lsn(end), clock: clock.cast_signed(), reply_requested });
            }
        }
        _ => {}
    }
    Err(WireError::Protocol("a message of the stream of unknown kind or length".to_owned()))
}

/// Splits into big-endian numbers of eight bytes.
#[inline]
fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    const { assert!(BYTES == WORDS * 8, "eight bytes per word") };
    let (chunks, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_be_bytes(chunks[at]))
}

/// The time as the server counts it. Only shown to people there (`pg_stat_replication.reply_time`).
fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX) - EPOCH_OFFSET
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn data_is_borrowed_with_its_positions() {
        let body = b"w\0\0\0\x16\xB3\x74\xD8\x48\0\0\0\x16\xB3\x74\xD8\x49\0\0\0\0\0\0\0\x07payload";
        assert_eq!(
            frame(body).unwrap(),
            Frame::XLogData { start: Lsn(0x16_B374_D848), end: Lsn(0x16_B374_D849), clock: 7, data: b"payload" }
        );
    }

    #[test]
    fn a_keepalive_says_whether_it_wants_an_answer() {
        let body = b"k\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(frame(body).unwrap(), Frame::Keepalive { end: Lsn(5), clock: -1, reply_requested: true });
        assert!(frame(&body[..body.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = frame(&body);
        }
    }
}
