//! Transactions larger than the memory, on disk.
