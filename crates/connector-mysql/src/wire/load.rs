//! `LOAD DATA LOCAL INFILE` (manual: "LOCAL INFILE Request"): the server asks for a file by the name that stands in the
//! statement, the client sends packets, and an empty one at the end.
//!
//! A server could ask for any file. So nothing here reads files at all: what is sent is what the caller hands over, and only
//! to a server that asks by the very token of our own statement.

use super::WireError;
use super::connection::{COM_QUERY, Connection, Done, FILE, done};
use super::packet::HEADER;

/// The payload of a packet: well below what the smallest servers take (`max_allowed_packet`).
const FULL: usize = 256 * 1024;

/// What stands before the token in a statement of ours.
const BEFORE_TOKEN: &str = "LOCAL INFILE '";

/// A load under way. One that is dropped before its end leaves a connection that takes no command any more.
pub(crate) struct Load<'a> {
    connection: &'a mut Connection,
    /// The packet that is next, behind room for its header.
    packet: Vec<u8>,
}

impl Connection {
    /// Runs a `LOAD DATA LOCAL INFILE` statement up to where the server wants the rows.
    ///
    /// # Errors
    /// Those of the server ([`WireError::is_load_refused`] among them); and a server that asks for anything else than
    /// the statement's own token gets nothing, and no command after it.
    pub(crate) async fn begin_load(&mut self, sql: &str) -> Result<Load<'_>, WireError> {
        self.send(COM_QUERY, sql.as_bytes()).await?;
        let request = self.packets.answer().await?;
        self.loading = true;
        let Some((&FILE, asked)) = request.split_first() else {
            return Err(WireError::Protocol("it does not ask for the rows of a load"));
        };
        if token(sql).is_none_or(|token| token.as_bytes() != asked) {
            self.packets.send(&[]).await?;
            return Err(WireError::Protocol("it asks for another file than the statement names"));
        }
        Ok(Load { connection: self, packet: vec![0; HEADER] })
    }
}

impl Load<'_> {
    /// Sends bytes, which may end anywhere, also within a row.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        while !bytes.is_empty() {
            let room = (HEADER + FULL).saturating_sub(self.packet.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.packet.extend_from_slice(now);
            bytes = later;
            if self.packet.len() >= HEADER + FULL {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Ends the load; what the server made of it. The connection is good for more then, also if the server refuses.
    pub(crate) async fn finish(mut self) -> Result<Done, WireError> {
        if self.packet.len() > HEADER {
            self.flush().await?;
        }
        self.connection.packets.send(&[]).await?;
        let answer = self.connection.packets.answer().await;
        self.connection.loading = !matches!(answer, Ok(_) | Err(WireError::Server { .. }));
        done(&answer?)
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.connection.packets.send_framed(&mut self.packet).await?;
        self.packet.truncate(HEADER);
        Ok(())
    }
}

/// The name in a statement that the server is to ask for.
fn token(sql: &str) -> Option<&str> {
    let (_, rest) = sql.split_once(BEFORE_TOKEN)?;
    rest.split_once('\'').map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_name_in_the_statement() {
        assert_eq!(token("LOAD DATA LOCAL INFILE 'wavemark-7' INTO TABLE `a`.`b`"), Some("wavemark-7"));
        assert_eq!(token("LOAD DATA LOCAL INFILE 'wavemark"), None);
        assert_eq!(token("SELECT 1"), None);
    }
}
