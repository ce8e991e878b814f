//! The parts of a packet or an event (protocol manual: "Basic Data Types"). Numbers are little-endian.

/// What is left of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

/// Bytes that are not of the form that they must have. Never holds any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

const SHORT: Malformed = Malformed("a packet is shorter than it says");

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer of the newer events: as many ones as its first byte ends with, so many bytes follow.
    pub(crate) fn packed(&mut self) -> Result<u64, Malformed> {
        let first = self.u8()?;
        let more = first.trailing_ones() as usize;
        let mut bytes = [0; 8];
        if more == 8 {
            return self.u64();
        }
        bytes[0] = first;
        bytes[1..=more].copy_from_slice(self.take(more)?);
        Ok(u64::from_le_bytes(bytes) >> (more + 1))
    }

    /// Up to and without the next zero byte.
    pub(crate) fn until_zero(&mut self) -> Result<&'a [u8], Malformed> {
        let at = self.0.iter().position(|byte| *byte == 0).ok_or(SHORT)?;
        let taken = self.take(at)?;
        self.take(1)?;
        Ok(taken)
    }

    /// An integer that says how long it is itself.
    pub(crate) fn length(&mut self) -> Result<usize, Malformed> {
        let length = match self.u8()? {
            small @ ..=0xFA => u64::from(small),
            0xFC => u64::from(self.u16()?),
            0xFD => {
                let [a, b, c] = self.array()?;
                u64::from(u32::from_le_bytes([a, b, c, 0]))
            }
            0xFE => u64::from_le_bytes(self.array()?),
            _ => return Err(Malformed("a length is none")),
        };
        usize::try_from(length).map_err(|_| SHORT)
    }

    /// Bytes behind their length.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.take(length)
    }

    /// Bytes behind their length, or NULL, as a row of text has them.
    pub(crate) fn cell(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if let Some(rest) = self.0.strip_prefix(&[0xFB]) {
            self.0 = rest;
            return Ok(None);
        }
        self.sized().map(Some)
    }
}
