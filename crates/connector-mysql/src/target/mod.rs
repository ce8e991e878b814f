//! `MySQL` and `MariaDB` as a target.

#[cfg(test)]
mod tests;
