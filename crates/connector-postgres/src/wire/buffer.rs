//! The read buffer: large reads in, whole messages out, nothing copied in between.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::WireError;

/// A message's first byte, and its length that counts itself but not that byte.
pub(super) const HEADER: usize = 5;
/// From how many bytes on that have come of a message it is believed to be as long as it says.
const BELIEVED: usize = 1 << 20;
/// Of a message that is not taken whole so much is shown.
pub(super) const SHOWN: usize = 4 * 1024;
/// A buffer larger than this is not kept for the next large message.
const KEPT: usize = 8 << 20;
/// After how many fills without a large message a grown buffer shrinks again.
const QUIET_FILLS: u8 = 8;

/// Bytes from the server that nobody has looked at yet.
pub(super) struct ReadBuffer {
    // Invariant: start <= end <= bytes.len(); bytes[start..end] is unread.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    rest_size: usize,
    max_message: usize,
    /// Larger messages are not taken whole.
    most_whole: usize,
    /// Bytes of such a message that are still to come, or to be thrown away.
    skip: usize,
    quiet: u8,
}

/// A message, or the beginning of one that is thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Its kind, and where its body lies until the next [`ReadBuffer::fill`].
    Whole(u8, Range<usize>),
    /// Its kind, where the beginning of its body lies, and how long all of that is.
    Beginning(u8, Range<usize>, usize),
}

impl ReadBuffer {
    pub(super) fn new(rest_size: usize, max_message: usize) -> Self {
        let rest_size = rest_size.max(8 * 1024);
        let bytes = vec![0; rest_size];
        Self { bytes, start: 0, end: 0, rest_size, max_message, most_whole: usize::MAX, skip: 0, quiet: 0 }
    }

    /// Of messages larger than this only the beginning is given, and no memory is taken for the rest.
    pub(super) fn set_most_whole(&mut self, bytes: usize) {
        self.most_whole = bytes;
    }

    /// The same as [`Self::next`], and the beginnings of messages that are not taken whole.
    #[inline]
    pub(super) fn next_item(&mut self) -> Result<Option<Item>, WireError> {
        if self.skip > 0 {
            self.pass_over();
        }
        match self.announced()? {
            Some(size) if size > self.most_whole => Ok(self.begin_to_skip(size)),
            _ => Ok(self.next()?.map(|(kind, body)| Item::Whole(kind, body))),
        }
    }

    #[cold]
    fn begin_to_skip(&mut self, size: usize) -> Option<Item> {
        let shown = size.min(SHOWN);
        if self.end - self.start < shown {
            return None;
        }
        let body = self.start + HEADER..self.start + shown;
        let kind = self.bytes[self.start];
        self.start = body.end;
        self.skip = size - shown;
        Some(Item::Beginning(kind, body, size - HEADER))
    }

    fn pass_over(&mut self) {
        let passed = self.skip.min(self.end - self.start);
        self.start += passed;
        self.skip -= passed;
    }

    /// Gives back the memory of a large message that has been taken out.
    pub(super) fn release(&mut self) {
        let unread = self.start..self.end;
        if self.bytes.len() > KEPT && unread.len() <= self.rest_size {
            let mut bytes = vec![0; self.rest_size];
            bytes[..unread.len()].copy_from_slice(&self.bytes[unread.clone()]);
            self.bytes = bytes;
            (self.start, self.end) = (0, unread.len());
        }
    }

    /// Takes the next whole message out: its kind and where its body lies until the next [`Self::fill`].
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u8, Range<usize>)>, WireError> {
        let Some(size) = self.announced()? else { return Ok(None) };
        if self.end - self.start < size {
            return Ok(None);
        }
        let kind = self.bytes[self.start];
        let body = self.start + HEADER..self.start + size;
        self.start = body.end;
        Ok(Some((kind, body)))
    }

    /// The body of a message that [`Self::next`] gave.
    #[inline]
    pub(super) fn body(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The body of a large message that [`Self::next`] gave, with the buffer's memory as it is; the next ones get a new one.
    pub(super) fn take(&mut self, range: Range<usize>) -> Bytes {
        let unread = self.start..self.end;
        let mut rest = vec![0; self.rest_size.max(unread.len())];
        rest[..unread.len()].copy_from_slice(&self.bytes[unread.clone()]);
        (self.start, self.end) = (0, unread.len());
        let mut taken = Bytes::from(std::mem::replace(&mut self.bytes, rest));
        taken.truncate(range.end);
        taken.split_off(range.start)
    }

    /// The whole size of the message at hand, once its header is there and in bounds.
    #[inline]
    fn announced(&self) -> Result<Option<usize>, WireError> {
        let Some([_, length @ ..]) = self.bytes[self.start..self.end].first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(length @ 4..) if length <= self.max_message => Ok(Some(length + 1)),
            Ok(size @ 4..) => Err(WireError::TooLarge { size, limit: self.max_message }),
            _ => Err(WireError::Protocol(format!("a message with the length {length}"))),
        }
    }

    /// Waits for at least one byte, then takes all that is at hand and fits; gives how many bytes it took.
    ///
    /// Cancel safe: bytes are either still in the socket or in the buffer.
    pub(super) async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> Result<usize, WireError> {
        self.make_room()?;
        poll_fn(|cx| {
            let before = self.end;
            while self.end < self.bytes.len() {
                let mut free = ReadBuf::new(&mut self.bytes[self.end..]);
                match Pin::new(&mut *reader).poll_read(cx, &mut free) {
                    Poll::Ready(Ok(())) if !free.filled().is_empty() => self.end += free.filled().len(),
                    // What came before an end or an error is handed out first; it shows again at the next read.
                    _ if self.end > before => break,
                    Poll::Ready(Ok(())) => return Poll::Ready(Err(WireError::Closed)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(self.end - before))
        })
        .await
    }

    /// Moves an unfinished message to the front, and grows or shrinks the buffer.
    ///
    /// It at most doubles at a time, and only when full: a header that lies about its length costs nothing. A message of
    /// which much has come gets all that it needs at once: growing on, the last step but one would be held beside it.
    fn make_room(&mut self) -> Result<(), WireError> {
        if self.skip > 0 {
            self.pass_over();
        }
        let needed = match self.announced()? {
            _ if self.skip > 0 => HEADER,
            Some(size) if size > self.most_whole => size.min(SHOWN),
            size => size.unwrap_or(HEADER),
        };
        self.quiet = if needed > self.rest_size { 0 } else { self.quiet.saturating_add(1) };
        let unread = self.end - self.start;
        if self.start > 0 && (unread == 0 || self.bytes.len() - self.end < self.bytes.len() / 2) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, unread);
        }
        if self.end == self.bytes.len() && unread >= BELIEVED && needed > self.bytes.len() {
            let mut bytes = vec![0; needed];
            bytes[..unread].copy_from_slice(&self.bytes[self.start..self.end]);
            self.bytes = bytes;
            (self.start, self.end) = (0, unread);
        } else if self.end == self.bytes.len() {
            let larger = (self.bytes.len() * 2).min(needed.max(self.bytes.len() + HEADER));
            self.bytes.resize(larger, 0);
        } else if self.bytes.len() > self.rest_size && self.quiet >= QUIET_FILLS && self.end <= self.rest_size {
            self.bytes.truncate(self.rest_size);
            self.bytes.shrink_to_fit();
        }
        Ok(())
    }
}

/// An end in the middle of a TLS session is an end, too.
fn lost(error: io::Error) -> WireError {
    if error.kind() == io::ErrorKind::UnexpectedEof { WireError::Closed } else { WireError::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    async fn next(buffer: &mut ReadBuffer, wire: &mut &[u8]) -> (u8, Vec<u8>) {
        loop {
            if let Some((kind, range)) = buffer.next().unwrap() {
                return (kind, buffer.body(range).to_vec());
            }
            buffer.fill(wire).await.unwrap();
        }
    }

    #[tokio::test]
    async fn messages_come_out_whole_however_they_lie_in_the_buffer() {
        let bodies: Vec<Vec<u8>> = (0u8..200).map(|n| vec![n; usize::from(n) * 97]).collect();
        let wire: Vec<u8> = bodies.iter().flat_map(|body| message(b'd', body)).collect();
        let mut wire = &wire[..];
        let mut buffer = ReadBuffer::new(8192, 1 << 20);
        for body in &bodies {
            assert_eq!(next(&mut buffer, &mut wire).await, (b'd', body.clone()));
        }
        assert!(matches!(buffer.fill(&mut wire).await, Err(WireError::Closed)));
    }

    #[tokio::test]
    async fn a_large_message_grows_the_buffer_and_small_ones_shrink_it() {
        let large = vec![7; 1_000_000];
        let mut wire = message(b'd', &large);
        for _ in 0..40 {
            wire.extend(message(b'd', &[1; 8000]));
        }
        let mut wire = &wire[..];
        let mut buffer = ReadBuffer::new(8192, 2_000_000);
        assert_eq!(next(&mut buffer, &mut wire).await.1, large);
        assert_eq!(buffer.bytes.len(), 1_000_005);
        while !wire.is_empty() {
            next(&mut buffer, &mut wire).await;
        }
        while buffer.next().unwrap().is_some() {}
        for _ in 0..QUIET_FILLS {
            let mut more = &message(b'd', b"x")[..];
            next(&mut buffer, &mut more).await;
        }
        assert_eq!(buffer.bytes.len(), 8192);
    }

    #[tokio::test]
    async fn of_a_message_larger_than_allowed_the_beginning_is_shown_and_nothing_held() {
        for (rest, size) in [(8192, 3_000_000), (1 << 20, 100_001)] {
            let large: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
            let wire = [message(b'd', b"before"), message(b'd', &large), message(b'd', b"after")].concat();
            let mut wire = &wire[..];
            let mut buffer = ReadBuffer::new(rest, i32::MAX as usize);
            buffer.set_most_whole(100_000);
            let mut found = Vec::new();
            while found.len() < 3 {
                match buffer.next_item().unwrap() {
                    Some(Item::Whole(b'd', body)) => found.push((buffer.body(body).to_vec(), None)),
                    Some(Item::Beginning(b'd', body, of)) => found.push((buffer.body(body).to_vec(), Some(of))),
                    Some(other) => panic!("{other:?}"),
                    None => drop(buffer.fill(&mut wire).await.unwrap()),
                }
                assert!(buffer.bytes.len() <= rest.max(16_384), "{} bytes are held", buffer.bytes.len());
            }
            let shown = large[..SHOWN - HEADER].to_vec();
            assert_eq!(found, [(b"before".to_vec(), None), (shown, Some(large.len())), (b"after".to_vec(), None)]);
        }
    }

    #[tokio::test]
    async fn the_memory_of_a_large_message_is_given_back_with_what_came_behind_it() {
        let large = vec![7; KEPT + 1];
        let wire = [message(b'd', &large), message(b'd', b"after"), message(b'd', b"last")].concat();
        let mut wire = &wire[..];
        let mut buffer = ReadBuffer::new(8192, i32::MAX as usize);
        assert_eq!(next(&mut buffer, &mut wire).await.1, large);
        buffer.release();
        assert_eq!(buffer.bytes.len(), 8192);
        assert_eq!(next(&mut buffer, &mut wire).await.1, b"after");
        assert_eq!(next(&mut buffer, &mut wire).await.1, b"last");
    }

    #[tokio::test]
    async fn a_large_message_is_taken_out_as_it_is_and_what_came_behind_it_stays() {
        for size in [20_000, 3_000_000] {
            let large: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
            let wire = [message(b'd', b"before"), message(b'd', &large), message(b'd', b"after")].concat();
            let mut wire = &wire[..];
            let mut buffer = ReadBuffer::new(8192, i32::MAX as usize);
            assert_eq!(next(&mut buffer, &mut wire).await.1, b"before");
            let range = loop {
                match buffer.next().unwrap() {
                    Some((_, range)) => break range,
                    None => drop(buffer.fill(&mut wire).await.unwrap()),
                }
            };
            let taken = buffer.take(range);
            assert_eq!(next(&mut buffer, &mut wire).await.1, b"after");
            assert_eq!(taken, large);
        }
    }

    #[tokio::test]
    async fn a_length_out_of_bounds_is_refused_before_anything_is_allocated() {
        for (length, text) in [
            (3i32, "the server broke the protocol: a message with the length 3"),
            (-1, "the server broke the protocol: a message with the length -1"),
            (1_000_001, "the server announced a message of 1000001 bytes, more than the limit of 1000000"),
        ] {
            let wire = [&b"d"[..], &length.to_be_bytes()].concat();
            let mut buffer = ReadBuffer::new(8192, 1_000_000);
            buffer.fill(&mut &wire[..]).await.unwrap();
            assert_eq!(buffer.next().unwrap_err().to_string(), text);
            assert_eq!(buffer.bytes.len(), 8192);
        }
    }

    #[tokio::test]
    async fn a_header_that_lies_does_not_make_the_buffer_large() {
        let wire = [&b"d"[..], &i32::MAX.to_be_bytes(), &vec![0; 20_000]].concat();
        let mut wire = &wire[..];
        let mut buffer = ReadBuffer::new(8192, i32::MAX as usize);
        while buffer.fill(&mut wire).await.is_ok() {
            assert_eq!(buffer.next().unwrap(), None);
        }
        assert_eq!(buffer.bytes.len(), 32_768);
    }
}
