//! MariaDB's: the last transaction of each domain, as `gtid_binlog_pos` has it.

use std::collections::BTreeMap;
use std::fmt;

use crate::fields::{Fields, Malformed};

/// For each domain the server and the number of its last transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Domains(BTreeMap<u32, (u32, u64)>);

impl Domains {
    /// Reads `0-1-100,7-2-3`; `None` if it is no such list.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let one = |text: &str| {
            let mut parts = text.trim().split('-');
            let read = (parts.next()?.parse().ok()?, (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?));
            parts.next().is_none().then_some(read)
        };
        if text.trim().is_empty() {
            return Some(Self::default());
        }
        text.split(',').map(one).collect::<Option<_>>().map(Self)
    }

    pub(crate) fn pass(&mut self, domain: u32, server: u32, number: u64) {
        self.0.insert(domain, (server, number));
    }

    /// The domains of which `other`, a server's own state, is behind: it has fewer of their transactions, or none.
    pub(crate) fn ahead_of(&self, other: &Self) -> Vec<u32> {
        let is_behind = |domain: &u32, number: u64| other.0.get(domain).is_none_or(|(_, there)| *there < number);
        self.0.iter().filter(|(domain, (_, number))| is_behind(domain, *number)).map(|(domain, _)| *domain).collect()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (domain, (server, number)) in &self.0 {
            out.extend(domain.to_le_bytes());
            out.extend(server.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        let mut domains = Self::default();
        while !fields.0.is_empty() {
            domains.pass(fields.u32()?, fields.u32()?, fields.u64()?);
        }
        Ok(domains)
    }
}

impl fmt::Display for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (domain, (server, number)) in &self.0 {
            write!(f, "{between}{domain}-{server}-{number}")?;
            between = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written() {
        for text in ["", "0-1-100", "0-1-100,7-2-18446744073709551615"] {
            assert_eq!(Domains::parse(text).unwrap().to_string(), text);
        }
        for text in ["0-1", "0-1-2-3", "a-1-2", "0-1-2,,0-1-3", "-1-1-1"] {
            assert_eq!(Domains::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_of_a_domain_counts_whatever_its_number() {
        let mut domains = Domains::parse("0-1-100,7-2-3").unwrap();
        domains.pass(0, 2, 99);
        domains.pass(1, 1, 1);
        assert_eq!(domains.to_string(), "0-2-99,1-1-1,7-2-3");
    }

    #[test]
    fn a_server_that_is_behind_is_told_by_its_domains() {
        let kept = Domains::parse("0-1-100,7-2-3").unwrap();
        let ahead = |server: &str| kept.ahead_of(&Domains::parse(server).unwrap());
        assert_eq!(ahead("0-2-100,7-2-9,8-1-1"), Vec::<u32>::new());
        assert_eq!(ahead("0-1-99,7-2-3"), [0]);
        assert_eq!(ahead("0-1-100"), [7]);
    }
}
