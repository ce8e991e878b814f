//! `MySQL` and `MariaDB` as a target.

pub(crate) mod values;

#[cfg(test)]
mod tests;
