//! Events that number what follows.

use uuid::Uuid;

use crate::fields::{Fields, Malformed};
use crate::gtid::{Gtid, GtidSet, Origin, tag};

/// What comes behind a transaction's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Its changes, without a statement that says so.
    Changes,
    /// The changes of one that is prepared (XA).
    Branch,
    /// A statement, which may be one that begins a transaction.
    Statement,
    /// A statement that is not in force, for now or for ever.
    Announced,
}

/// A transaction's number, and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) gtid: Gtid,
    pub(crate) follows: Follows,
}

/// `GTID_EVENT` of MariaDB: a transaction begins, or one statement follows. An `ALTER` that is logged when it begins is
/// logged once more when it is done (`binlog_alter_two_phase`).
pub(super) fn mariadb(server: u32, mut fields: Fields<'_>) -> Result<Numbered, Malformed> {
    let number = fields.u64()?;
    let gtid = Gtid::Mariadb { domain: fields.u32()?, server, number };
    let flags = fields.u8()?;
    if flags & STANDS_ALONE == 0 {
        let follows = if flags & PREPARED == 0 { Follows::Changes } else { Follows::Branch };
        return Ok(Numbered { gtid, follows });
    }
    if flags & IN_GROUP != 0 {
        fields.take(8)?;
    }
    if flags & OF_XA != 0 {
        fields.take(4)?;
        let [of_transaction, of_branch] = fields.array::<2>()?;
        fields.take(usize::from(of_transaction) + usize::from(of_branch))?;
    }
    let more = fields.u8().unwrap_or_default();
    let is_in_force = more & (ALTER_BEGINS | ALTER_FAILED) == 0;
    Ok(Numbered { gtid, follows: if is_in_force { Follows::Statement } else { Follows::Announced } })
}

/// `GTID_LOG_EVENT` of MySQL.
pub(super) fn mysql(mut fields: Fields<'_>) -> Result<Numbered, Malformed> {
    fields.u8()?;
    let server = Uuid::from_bytes(fields.array()?);
    numbered(Origin { server, tag: "".into() }, fields.u64()?)
}

/// `GTID_TAGGED_LOG_EVENT` of MySQL, from version 8.3 on: fields, each behind its number, of which the first four are always
/// there.
pub(super) fn tagged(mut fields: Fields<'_>) -> Result<Numbered, Malformed> {
    // How it is written, its length, and the last field that must not be passed over.
    for _ in 0..3 {
        fields.packed()?;
    }
    field(&mut fields, 0)?;
    fields.packed()?;
    field(&mut fields, 1)?;
    let mut server = [0; 16];
    for byte in &mut server {
        *byte = u8::try_from(fields.packed()?).map_err(|_| Malformed("a server's number is none"))?;
    }
    field(&mut fields, 2)?;
    // The lowest bit is its sign.
    let number = fields.packed()? >> 1;
    field(&mut fields, 3)?;
    numbered(Origin { server: Uuid::from_bytes(server), tag: tag(&mut fields)? }, number)
}

fn field(fields: &mut Fields<'_>, number: u64) -> Result<(), Malformed> {
    if fields.packed()? == number { Ok(()) } else { Err(Malformed("a transaction's number has other fields")) }
}

fn numbered(origin: Origin, number: u64) -> Result<Numbered, Malformed> {
    if number == 0 || number > i64::MAX.cast_unsigned() {
        return Err(Malformed("a transaction's number is none"));
    }
    Ok(Numbered { gtid: Gtid::Mysql { origin, number }, follows: Follows::Statement })
}

/// `PREVIOUS_GTIDS_LOG_EVENT` of MySQL: what was executed before the file.
pub(super) fn previous(mut fields: Fields<'_>) -> Result<GtidSet, Malformed> {
    GtidSet::decode(&mut fields)
}

/// The flag of a statement that is no transaction's.
const STANDS_ALONE: u8 = 1;
const IN_GROUP: u8 = 2;
const PREPARED: u8 = 64;
/// Prepared, or decided on.
const OF_XA: u8 = PREPARED | 128;
const ALTER_BEGINS: u8 = 2;
const ALTER_FAILED: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mariadb_transaction_begins_with_its_number() {
        let body = [&9_u64.to_le_bytes()[..], &3_u32.to_le_bytes(), &[4], &[0; 6]].concat();
        let numbered = mariadb(7, Fields(&body)).unwrap();
        let gtid = Gtid::Mariadb { domain: 3, server: 7, number: 9 };
        assert_eq!(numbered, Numbered { gtid, follows: Follows::Changes });
    }

    #[test]
    fn an_alter_that_has_only_begun_is_known_by_its_number() {
        for (flags, more, follows) in [
            (1, &[0, 0, 0, 0, 0, 0][..], Follows::Statement),
            (1, &[2], Follows::Announced),
            (3, &[7, 7, 7, 7, 7, 7, 7, 7, 8], Follows::Announced),
            (1, &[4], Follows::Statement),
        ] {
            let body = [&[0; 12][..], &[flags], more].concat();
            assert_eq!(mariadb(1, Fields(&body)).unwrap().follows, follows, "{flags} {more:?}");
        }
    }

    #[test]
    fn a_mysql_transaction_has_its_server_and_number() {
        let body = [&[1][..], &[0x3e; 16], &5_u64.to_le_bytes(), &[2, 0, 0]].concat();
        let origin = Origin { server: Uuid::from_bytes([0x3e; 16]), tag: "".into() };
        assert_eq!(mysql(Fields(&body)).unwrap().gtid, Gtid::Mysql { origin, number: 5 });
        assert!(mysql(Fields(&[0; 40])).is_err());
    }

    #[test]
    fn a_tagged_transaction_has_its_tag() {
        // 0xC8 takes two bytes (its bits behind the pattern 01), 0x3E one; the number 5 is 10 with its sign.
        let server = [[0x21, 0x03].as_slice(); 15].concat();
        let body = [&[2, 80, 6, 0, 2, 2][..], &server, &[0x7C, 4, 20, 6, 8], b"blue", &[8, 0]].concat();
        let mut bytes = [0xC8; 16];
        bytes[15] = 0x3E;
        let origin = Origin { server: Uuid::from_bytes(bytes), tag: "blue".into() };
        assert_eq!(tagged(Fields(&body)).unwrap().gtid, Gtid::Mysql { origin, number: 5 });
        for length in 0..body.len() - 2 {
            assert!(tagged(Fields(&body[..length])).is_err());
        }
    }
}
