//! The fence: nothing that an earlier opening began is committed after a later one returned.
