//! Reading rows: `COPY … TO STDOUT` (manual: protocol-flow, "COPY Operations").
//!
//! The server sends a message for each row, a hundred bytes or so. The driver would hand each through a queue between two
//! threads; here they are borrowed from the read buffer, one after the other.

use bytes::Bytes;

use super::buffer::{HEADER, Item};
use super::connection::unexpected;
use super::{Connection, WireError, backend};

/// What is at hand of a COPY.
pub enum Piece<'a> {
    /// A piece of the stream, which the server cuts at its rows.
    Data(&'a [u8]),
    /// One that is so large that it is taken out of the buffer as it is.
    Large(Bytes),
    /// One of so many bytes, more than was allowed. It is lost, and the COPY with it.
    TooLarge(usize),
    /// Nothing: it takes another [`Connection::fill`].
    Nothing,
    /// The COPY is over, and the connection takes the next command.
    End,
}

impl Connection {
    /// Begins to read what a `COPY … TO STDOUT` gives, in pieces of at most so many bytes. The caller then takes what is at
    /// hand ([`Self::piece`]) and waits for more ([`Self::fill`]), in turns. Who gives up before the end drops the
    /// connection.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn copy_out(&mut self, sql: &str, most: usize) -> Result<(), WireError> {
        self.send_query(sql).await?;
        match self.receive().await? {
            (b'H', _) => {
                self.buffer.set_most_whole(most.saturating_add(HEADER));
                self.is_unhurried(true);
                Ok(())
            }
            (b'E', body) => Err(backend::error(&body)?.into()),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Waits for bytes and takes all that are at hand, up to the buffer's size. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn fill(&mut self) -> Result<(), WireError> {
        self.buffer.fill(&mut self.socket).await.map(drop)
    }

    /// The next piece at hand. A piece of more than `large` bytes is not borrowed but taken out.
    ///
    /// # Errors
    /// The server's error, or bytes that the protocol doesn't allow. The connection is of no use then.
    pub fn piece(&mut self, large: usize) -> Result<Piece<'_>, WireError> {
        loop {
            let (kind, range) = match self.buffer.next_item()? {
                None => return Ok(Piece::Nothing),
                Some(Item::Whole(kind, range)) => (kind, range),
                Some(Item::Beginning(b'd', _, size)) => return Ok(Piece::TooLarge(size)),
                Some(Item::Beginning(kind, ..)) => return Err(unexpected(kind)),
            };
            match kind {
                b'd' if range.len() > large => return Ok(Piece::Large(self.buffer.take(range))),
                b'd' => return Ok(Piece::Data(self.buffer.body(range))),
                b'Z' => {
                    self.buffer.set_most_whole(usize::MAX);
                    self.is_unhurried(false);
                    self.answered();
                    return Ok(Piece::End);
                }
                b'E' => return Err(backend::error(self.buffer.body(range))?.into()),
                // Its end and its tag; a notice, a changed parameter.
                b'c' | b'C' | b'N' | b'S' => {}
                other => return Err(unexpected(other)),
            }
        }
    }
}
