//! Packets: payloads behind three bytes of length and one that counts them. A longer payload goes in several.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::WireError;
use super::socket::{self, Socket};
use crate::fields::Fields;

/// The longest payload of one packet; one of this very length goes on in the next.
const LONGEST: usize = 0xFF_FFFF;
pub(super) const HEADER: usize = 4;
/// How much is read at once.
const READ: usize = 128 * 1024;
/// The longest payload that is copied to be sent with its header.
const SMALL: usize = 16 * 1024;

/// Packets over a socket.
pub(crate) struct Packets {
    socket: Socket,
    received: BytesMut,
    /// What came of a payload that goes on in the next packet.
    begun: Option<BytesMut>,
    next: u8,
}

impl Packets {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, received: BytesMut::with_capacity(READ), begun: None, next: 0 }
    }

    /// The same connection, encrypted: nothing that came in plain text is kept.
    pub(crate) async fn encrypt(self, connector: &tokio_rustls::TlsConnector, host: &str) -> Result<Self, WireError> {
        if !self.received.is_empty() {
            return Err(WireError::Protocol("it spoke before the connection was encrypted"));
        }
        Ok(Self { socket: socket::encrypt(self.socket, connector, host).await?, ..self })
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.socket.is_encrypted()
    }

    /// Begins a command: the packets of each are counted anew.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
    }

    /// Sends one payload.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let mut rest = payload;
        loop {
            let (piece, more) = rest.split_at(rest.len().min(LONGEST));
            let header = self.header(piece.len());
            if piece.len() <= SMALL {
                // What is small goes in one segment.
                self.socket.write_all(&[&header, piece].concat()).await?;
            } else {
                self.socket.write_all(&header).await?;
                self.socket.write_all(piece).await?;
            }
            if piece.len() < LONGEST {
                break;
            }
            rest = more;
        }
        self.socket.flush().await?;
        Ok(())
    }

    /// Sends one packet whose first four bytes are room for its header. It is not longer than a packet can be.
    pub(crate) async fn send_framed(&mut self, packet: &mut [u8]) -> Result<(), WireError> {
        let header = self.header(packet.len().saturating_sub(HEADER));
        if let Some(room) = packet.first_chunk_mut() {
            *room = header;
        }
        self.socket.write_all(packet).await?;
        Ok(())
    }

    /// The header of the next packet, which is counted.
    fn header(&mut self, length: usize) -> [u8; HEADER] {
        let [a, b, c, _] = u32::try_from(length).unwrap_or_default().to_le_bytes();
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        [a, b, c, number]
    }

    /// The length of the packet that is next, once its header is there.
    fn coming(&self) -> Option<usize> {
        let [a, b, c, _] = *self.received.first_chunk::<HEADER>()?;
        Some(u32::from_le_bytes([a, b, c, 0]) as usize)
    }

    async fn fill(&mut self, least: usize) -> Result<(), WireError> {
        while self.received.len() < least {
            self.received.reserve(READ.max(least - self.received.len()));
            if self.socket.read_buf(&mut self.received).await? == 0 {
                return Err(WireError::Closed);
            }
        }
        Ok(())
    }

    /// The next payload, also one of several packets. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Result<BytesMut, WireError> {
        loop {
            let piece = self.one().await?;
            let goes_on = piece.len() == LONGEST;
            let payload = match self.begun.take() {
                None => piece,
                Some(mut begun) => {
                    begun.unsplit(piece);
                    begun
                }
            };
            if !goes_on {
                return Ok(payload);
            }
            self.begun = Some(payload);
        }
    }

    async fn one(&mut self) -> Result<BytesMut, WireError> {
        self.fill(HEADER).await?;
        let length = self.coming().unwrap_or_default();
        self.fill(HEADER + length).await?;
        self.next = self.received[3].wrapping_add(1);
        self.received.advance(HEADER);
        Ok(self.received.split_to(length))
    }

    /// The next payload; the server's error as one.
    pub(crate) async fn answer(&mut self) -> Result<BytesMut, WireError> {
        let payload = self.receive().await?;
        match payload.first() {
            Some(0xFF) => Err(refusal(&payload)?),
            Some(_) => Ok(payload),
            None => Err(WireError::Protocol("it sent an empty packet")),
        }
    }
}

/// An `ERR` packet.
fn refusal(payload: &[u8]) -> Result<WireError, WireError> {
    let mut fields = Fields(payload);
    fields.take(1)?;
    let code = fields.u16()?;
    let state = match fields.0.strip_prefix(b"#") {
        Some(rest) => {
            fields.0 = rest;
            String::from_utf8_lossy(fields.take(5)?).into_owned()
        }
        None => "HY000".to_owned(),
    };
    Ok(WireError::Server { code, state, message: String::from_utf8_lossy(fields.0).into_owned() })
}
