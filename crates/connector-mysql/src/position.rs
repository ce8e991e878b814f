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
}

impl Place {
    /// A place as the server tells it; `None` if the file's name has no number.
    pub(crate) fn new(file: &str, offset: u64) -> Option<Self> {
        let (_, number) = file.rsplit_once('.')?;
        Some(Self { number: number.parse().ok()?, offset, file: file.to_owned() })
    }

    /// The stored form: number and offset, so that bytes order as the log does, then the file's name.
    pub(crate) fn to_position(&self) -> Position {
        let mut bytes = Vec::with_capacity(16 + self.file.len());
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.file.as_bytes());
        Position::new(bytes)
    }

    /// Reads the stored form; `None` for a position of another kind of system.
    pub(crate) fn from_position(position: &Position) -> Option<Self> {
        let (number, rest) = position.as_bytes().split_first_chunk::<8>()?;
        let (offset, file) = rest.split_first_chunk::<8>()?;
        let place = Self::new(std::str::from_utf8(file).ok()?, u64::from_be_bytes(*offset))?;
        (place.number == u64::from_be_bytes(*number)).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_as_the_log_does() {
        let of = |file: &str, offset| Place::new(file, offset).unwrap().to_position();
        assert!(of("bin.000009", 900) < of("bin.000010", 4));
        // The name grows by a digit.
        assert!(of("bin.999999", 4) < of("bin.1000000", 4));
        assert!(of("bin.000001", 255) < of("bin.000001", 256));
    }

    #[test]
    fn a_place_comes_back() {
        let place = Place::new("mysql-bin.000042", 1_234).unwrap();
        assert_eq!(Place::from_position(&place.to_position()), Some(place));
        assert_eq!(Place::from_position(&Position::new(vec![1, 2, 3])), None);
        assert_eq!(Place::new("binlog", 4), None);
    }
}
