//! The net effect of a run of changes.
