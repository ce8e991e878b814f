//! Finds the reply to a COMMIT: PostgreSQL's says so itself, in MySQL's protocol it is what a server sends next.

/// `CommandComplete` with the tag "COMMIT" (protocol-message-formats). ROLLBACK has another tag.
const REPLY: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// Looks at a stream chunk by chunk; a reply may lie in two of them.
#[derive(Default)]
pub(super) struct CommitReply {
    tail: Vec<u8>,
}

impl CommitReply {
    /// How many bytes of the chunk come before the first reply that ends in it.
    pub(super) fn find(&mut self, chunk: &[u8]) -> Option<usize> {
        let earlier = self.tail.len();
        self.tail.extend_from_slice(chunk);
        let found = self.tail.windows(REPLY.len()).position(|window| window == REPLY);
        let keep = self.tail.len().min(REPLY.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
        found.map(|at| at.saturating_sub(earlier))
    }
}

/// `COM_QUERY` with the text "COMMIT" alone: its length in three bytes, the number of the packet, the command
/// (`page_protocol_com_query`).
const MYSQL_COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";

/// Whether what a client sends ends with a COMMIT in MySQL's protocol. A client that waits for each answer sends nothing behind
/// it.
pub(super) fn asks_to_commit(chunk: &[u8]) -> bool {
    chunk.ends_with(MYSQL_COMMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_found_also_where_it_lies_in_two_chunks() {
        let mut stream = CommitReply::default();
        assert_eq!(stream.find(b"C\0\0\0\x0dROLLBACK\0"), None);
        assert_eq!(stream.find(b"12C\0\0\0\x0bCOMMIT\0Z"), Some(2));
        assert_eq!(stream.find(b"345C\0\0\0\x0bCO"), None);
        assert_eq!(stream.find(b"MMIT\0Z"), Some(0));
        assert_eq!(stream.find(b"Z"), None);
    }

    #[test]
    fn a_commit_of_mysqls_protocol_is_told_from_texts_that_have_the_word() {
        assert!(asks_to_commit(b"\x07\0\0\0\x03COMMIT"));
        assert!(!asks_to_commit(b"\x08\0\0\0\x03COMMIT;"));
        assert!(!asks_to_commit(b"\x0e\0\0\0\x03SELECT 'COMMIT"));
    }
}
