//! Positions in the binary log.

use std::sync::Arc;

use wavemark_domain::Position;

use crate::fields::{Fields, Malformed};
use crate::gtid::Executed;

/// A place in a server's binary log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// How many servers' logs the task has come through before this one: each numbers its files anew.
    pub(crate) era: u16,
    /// The number at the end of the file's name, which grows.
    pub(crate) number: u64,
    /// The place in the file.
    pub(crate) offset: u64,
    /// The file's whole name.
    pub(crate) file: Arc<str>,
    /// Which server's log it is: `server_uuid` of MySQL, `server_uid` of MariaDB.
    pub(crate) server: Arc<str>,
}

/// Era and number are one number in what is stored: the era in the higher two bytes, for no file's number comes there.
const ERA: u32 = 48;

impl Place {
    /// A place as the server tells it, in the first era; `None` if the file's name has no number.
    pub(crate) fn new(file: &str, offset: u64, server: impl Into<Arc<str>>) -> Option<Self> {
        let (_, number) = file.rsplit_once('.')?;
        let number = number.parse().ok().filter(|number: &u64| *number < 1 << ERA)?;
        Some(Self { era: 0, number, offset, file: file.into(), server: server.into() })
    }

    pub(crate) fn in_era(self, era: u16) -> Self {
        Self { era, ..self }
    }

    /// Era and number as one.
    pub(crate) fn counted(&self) -> u64 {
        u64::from(self.era) << ERA | self.number
    }

    /// The stored form: number and offset, so that bytes order as the log does, then the names of file and server.
    pub(crate) fn to_position(&self, memo: &Memo) -> Position {
        let mut bytes = Vec::with_capacity(17 + self.file.len() + self.server.len());
        bytes.extend(self.counted().to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.file.as_bytes());
        bytes.push(0);
        bytes.extend(self.server.as_bytes());
        Position::with_memo(&bytes, &memo.0)
    }

    /// The place for a note of what holds from there on: file and offset by their numbers.
    pub(crate) fn mark(&self) -> String {
        format!("{}:{}", self.counted(), self.offset)
    }

    /// Whether it lies before a noted place of the same log, or is that.
    pub(crate) fn is_up_to(&self, noted: (u64, u64)) -> bool {
        (self.counted(), self.offset) <= noted
    }

    /// Reads the stored form; `None` for a position of another kind of system.
    pub(crate) fn from_position(position: &Position) -> Option<Self> {
        let (counted, rest) = position.place().split_first_chunk::<8>()?;
        let (offset, names) = rest.split_first_chunk::<8>()?;
        let (file, server) = std::str::from_utf8(names).ok()?.split_once('\0')?;
        let [era @ .., _, _, _, _, _, _] = *counted;
        let place = Self::new(file, u64::from_be_bytes(*offset), server)?.in_era(u16::from_be_bytes(era));
        (place.counted() == u64::from_be_bytes(*counted)).then_some(place)
    }
}

/// A place that was noted as [`Place::mark`] says it.
pub(crate) fn noted(mark: &str) -> Option<(u64, u64)> {
    let (number, offset) = mark.split_once(':')?;
    Some((number.parse().ok()?, offset.parse().ok()?))
}

/// What is to be found again with a place, and does not say where it is: in the form in which it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memo(Vec<u8>);

/// The first byte.
const FORM: u8 = 1;
/// The same, of a view whose readers began one after the other while others wrote: then comes the place before the first one.
const BEGUN_OVER: u8 = 2;

impl Memo {
    /// `made` is when the place's file was begun, as the file says it (seconds since 1970): a log that was begun anew
    /// (`RESET MASTER`) has files of the same names, made later.
    pub(crate) fn new(made: u32, executed: &Executed) -> Self {
        let mut memo = Self::default();
        memo.set(made, executed);
        memo
    }

    /// As [`Memo::new`], in the same memory.
    pub(crate) fn set(&mut self, made: u32, executed: &Executed) {
        self.0.clear();
        self.0.push(FORM);
        self.0.extend(made.to_le_bytes());
        executed.write(&mut self.0);
    }

    /// The memo of a view at a place beyond `before`, between which and there its readers began.
    pub(crate) fn begun_over(made: u32, before: &Place) -> Self {
        let mut memo = vec![BEGUN_OVER];
        memo.extend(made.to_le_bytes());
        memo.extend(before.to_position(&Self::default()).as_bytes());
        Self(memo)
    }

    /// From where what the log touched since a view has to be gathered.
    pub(crate) fn since(view: &Position) -> Position {
        let before = view.memo().strip_prefix(&[BEGUN_OVER]).and_then(|rest| rest.split_first_chunk::<4>());
        before.map_or_else(|| view.clone(), |(_, place)| Position::new(place))
    }

    /// What was noted with a position: when its file was begun, and what was executed before it. Neither is known of a position
    /// that an earlier version noted.
    pub(crate) fn of(position: &Position) -> Result<(Option<u32>, Executed), Malformed> {
        let mut fields = Fields(position.memo());
        if fields.0.is_empty() {
            return Ok((None, Executed::Unknown));
        }
        let form = fields.u8()?;
        let made = Some(fields.u32()?).filter(|made| *made != 0);
        match form {
            FORM => Ok((made, Executed::read(fields.0)?)),
            BEGUN_OVER => Ok((made, Executed::Unknown)),
            _ => Err(Malformed("a position was noted by a later version")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gtid::GtidSet;

    fn place(file: &str, offset: u64) -> Place {
        Place::new(file, offset, "3e11fa47-71ca-11e1-9e33-c80aa9429562").unwrap()
    }

    #[test]
    fn positions_order_as_the_log_does() {
        let of = |file: &str, offset| place(file, offset).to_position(&Memo::default());
        assert!(of("bin.000009", 900) < of("bin.000010", 4));
        // The name grows by a digit.
        assert!(of("bin.999999", 4) < of("bin.1000000", 4));
        assert!(of("bin.000001", 255) < of("bin.000001", 256));
    }

    #[test]
    fn another_servers_log_is_behind_all_of_the_first_ones() {
        let first = place("bin.000150", 900).to_position(&Memo::default());
        let second = place("other.000002", 4).in_era(1).to_position(&Memo::default());
        assert!(first < second);
        assert_eq!(Place::from_position(&second).unwrap().era, 1);
    }

    #[test]
    fn a_noted_place_is_compared_by_its_numbers() {
        let mark = noted(&place("bin.000010", 900).mark()).unwrap();
        for (place, is_up_to) in [
            (place("bin.000009", 1_000), true),
            (place("bin.000010", 900), true),
            (place("bin.000010", 1_000), false),
            (place("bin.000011", 4), false),
            (place("bin.000001", 4).in_era(1), false),
        ] {
            assert_eq!(place.is_up_to(mark), is_up_to, "{place:?}");
        }
        assert_eq!(noted("nowhere"), None);
    }

    #[test]
    fn a_place_comes_back_with_its_memo() {
        let place = place("mysql-bin.000042", 1_234);
        let executed = Executed::Mysql(GtidSet::parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5").unwrap());
        let position = place.to_position(&Memo::new(1_700_000_000, &executed));
        let stored = Position::new(position.as_bytes());
        assert_eq!(Place::from_position(&stored), Some(place));
        assert_eq!(Memo::of(&stored).unwrap(), (Some(1_700_000_000), executed));
        assert_eq!(Place::from_position(&Position::new(vec![1, 2, 3])), None);
        assert_eq!(Place::new("binlog", 4, ""), None);
    }

    #[test]
    fn a_view_that_began_while_others_wrote_says_since_when() {
        let before = place("bin.000009", 900);
        let view = place("bin.000010", 157).to_position(&Memo::begun_over(1_700_000_000, &before));
        let stored = Position::new(view.as_bytes());
        assert_eq!(Place::from_position(&Memo::since(&stored)), Some(before));
        assert_eq!(Memo::of(&stored).unwrap(), (Some(1_700_000_000), Executed::Unknown));
        let other = place("bin.000010", 157).to_position(&Memo::new(7, &Executed::Unknown));
        assert_eq!(Memo::since(&other), other);
    }

    #[test]
    fn a_position_of_an_earlier_version_is_one_without_a_memo() {
        let [number, offset] = [42_u64, 1_234].map(u64::to_be_bytes);
        let stored = Position::new([&number[..], &offset, b"bin.000042\0s"].concat());
        assert_eq!(Place::from_position(&stored), Place::new("bin.000042", 1_234, "s"));
        assert_eq!(Memo::of(&stored).unwrap(), (None, Executed::Unknown));
        let with_memo = Place::new("bin.000042", 1_234, "s").unwrap().to_position(&Memo::new(7, &Executed::Unknown));
        assert_eq!(stored, with_memo);
    }
}
