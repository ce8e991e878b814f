//! Positions in the binary log.

use wavemark_domain::Position;

/// A place in a server's binary log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number at the end of the file's name, which grows.
    pub(crate) number: u64,
    /// The place in the file.
    pub(crate) offset: u64,
    /// The file's whole name.
    pub(crate) file: String,
    /// Which server's log it is: `server_uuid` of MySQL, `server_uid` of MariaDB.
    pub(crate) server: String,
}

impl Place {
    /// A place as the server tells it; `None` if the file's name has no number.
    pub(crate) fn new(file: &str, offset: u64, server: &str) -> Option<Self> {
        let (_, number) = file.rsplit_once('.')?;
        Some(Self { number: number.parse().ok()?, offset, file: file.to_owned(), server: server.to_owned() })
    }

    /// The stored form: number and offset, so that bytes order as the log does, then the names of file and server.
    pub(crate) fn to_position(&self) -> Position {
        let mut bytes = Vec::with_capacity(17 + self.file.len() + self.server.len());
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.file.as_bytes());
        bytes.push(0);
        bytes.extend(self.server.as_bytes());
        Position::new(bytes)
    }

    /// The place for a note of what holds from there on: file and offset by their numbers.
    pub(crate) fn mark(&self) -> String {
        format!("{}:{}", self.number, self.offset)
    }

    /// Whether it lies before a noted place of the same log, or is that.
    pub(crate) fn is_up_to(&self, noted: (u64, u64)) -> bool {
        (self.number, self.offset) <= noted
    }

    /// Reads the stored form; `None` for a position of another kind of system.
    pub(crate) fn from_position(position: &Position) -> Option<Self> {
        let (number, rest) = position.as_bytes().split_first_chunk::<8>()?;
        let (offset, names) = rest.split_first_chunk::<8>()?;
        let (file, server) = std::str::from_utf8(names).ok()?.split_once('\0')?;
        let place = Self::new(file, u64::from_be_bytes(*offset), server)?;
        (place.number == u64::from_be_bytes(*number)).then_some(place)
    }
}

/// A place that was noted as [`Place::mark`] says it.
pub(crate) fn noted(mark: &str) -> Option<(u64, u64)> {
    let (number, offset) = mark.split_once(':')?;
    Some((number.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_as_the_log_does() {
        let of = |file: &str, offset| Place::new(file, offset, "s").unwrap().to_position();
        assert!(of("bin.000009", 900) < of("bin.000010", 4));
        // The name grows by a digit.
        assert!(of("bin.999999", 4) < of("bin.1000000", 4));
        assert!(of("bin.000001", 255) < of("bin.000001", 256));
    }

    #[test]
    fn a_noted_place_is_compared_by_its_numbers() {
        let of = |file: &str, offset| Place::new(file, offset, "s").unwrap();
        let mark = noted(&of("bin.000010", 900).mark()).unwrap();
        for (file, offset, is_up_to) in [
            ("bin.000009", 1_000, true),
            ("bin.000010", 900, true),
            ("bin.000010", 1_000, false),
            ("bin.000011", 4, false),
        ] {
            assert_eq!(of(file, offset).is_up_to(mark), is_up_to, "{file} {offset}");
        }
        assert_eq!(noted("nowhere"), None);
    }

    #[test]
    fn a_place_comes_back() {
        let place = Place::new("mysql-bin.000042", 1_234, "3e11fa47-71ca-11e1-9e33-c80aa9429562").unwrap();
        assert_eq!(Place::from_position(&place.to_position()), Some(place));
        assert_eq!(Place::from_position(&Position::new(vec![1, 2, 3])), None);
        assert_eq!(Place::new("binlog", 4, ""), None);
    }
}
