//! Changes per second of each method.
