//! Loads: tables, chunks with their marks, keys, foreign keys, counters.
