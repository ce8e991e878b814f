//! Numbers of transactions (GTIDs), which stay the same from server to server: by them another server's log is read on from
//! where the first one's was left.
//!
//! MySQL's servers number their transactions each by itself, and what was executed is a set (`set`). MariaDB's share a row of
//! numbers for each domain, and what was executed is the last of each (`domains`).

mod domains;
mod set;

pub(crate) use domains::Domains;
pub(crate) use set::{GtidSet, Origin, tag};

use crate::fields::{Fields, Malformed};

/// The number of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gtid {
    Mysql { origin: Origin, number: u64 },
    Mariadb { domain: u32, server: u32, number: u64 },
}

/// Which transactions lie before a place of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Executed {
    /// It is not known.
    #[default]
    Unknown,
    Mysql(GtidSet),
    Mariadb(Domains),
}

const MYSQL: u8 = 1;
const MARIADB: u8 = 2;

impl Executed {
    /// A transaction more. What is not known stays so: one transaction says nothing of those before it.
    pub(crate) fn add(&mut self, gtid: &Gtid) {
        match (self, gtid) {
            (Self::Mysql(set), Gtid::Mysql { origin, number }) => set.add(origin, *number..number.saturating_add(1)),
            (Self::Mariadb(domains), Gtid::Mariadb { domain, server, number }) => {
                domains.pass(*domain, *server, *number);
            }
            _ => {}
        }
    }

    /// Appends the form in which it is kept.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unknown => {}
            Self::Mysql(set) => {
                out.push(MYSQL);
                set.encode(out);
            }
            Self::Mariadb(domains) => {
                out.push(MARIADB);
                domains.write(out);
            }
        }
    }

    /// Reads the form in which it is kept.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(match bytes.split_first() {
            None => Self::Unknown,
            Some((&MYSQL, rest)) => Self::Mysql(GtidSet::decode(&mut Fields(rest))?),
            Some((&MARIADB, rest)) => Self::Mariadb(Domains::read(rest)?),
            Some(_) => return Err(Malformed("transactions are numbered in a way that is not known")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let set = GtidSet::parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:blue:9").unwrap();
        let domains = Domains::parse("0-1-100,7-2-3").unwrap();
        for executed in [Executed::Unknown, Executed::Mysql(set), Executed::Mariadb(domains)] {
            let mut bytes = Vec::new();
            executed.write(&mut bytes);
            assert_eq!(Executed::read(&bytes).unwrap(), executed);
        }
        assert!(Executed::read(&[9]).is_err());
    }

    #[test]
    fn of_what_is_not_known_nothing_becomes_known_by_one_more() {
        let mut executed = Executed::Unknown;
        executed.add(&Gtid::Mariadb { domain: 0, server: 1, number: 5 });
        assert_eq!(executed, Executed::Unknown);
    }
}
