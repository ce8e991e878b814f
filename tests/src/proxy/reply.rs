//! Finds PostgreSQL's reply to a COMMIT in what a server sends.

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
}
