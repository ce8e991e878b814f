//! `MySQL` and `MariaDB` as a target.

pub(crate) mod create;
pub(crate) mod declare;
mod shares;
pub(crate) mod values;

#[cfg(test)]
mod tests;
