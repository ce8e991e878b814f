//! A simulated source and target.
