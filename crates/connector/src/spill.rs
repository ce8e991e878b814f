//! Rows that don't fit in memory, on disk: append-only files with a quota that they share.
//!
//! A file is unlinked as soon as it is made, so nothing of it outlives the process, however that ends. It is never
//! flushed to the device: after a crash the source sends its content again. Every frame carries its length and a
//! CRC-32, so that a damaged one is noticed and read again from the source instead of being applied.
//!
//! Calls block on the disk; from async code they go through [`blocking`].

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wavemark_domain::{Fault, Problem};

/// Length and CRC-32 of a frame, both big-endian.
const HEAD: usize = 8;
/// No frame is larger; a length above is damage.
const MAX_FRAME: usize = 1 << 31;

/// A folder for spilled rows, with a quota over all of its files.
#[derive(Clone, Debug)]
pub struct Spill {
    folder: PathBuf,
    quota: Arc<Quota>,
}

#[derive(Debug)]
struct Quota {
    limit: u64,
    used: AtomicU64,
}

/// One file: frames are appended, then read back in order. Dropping it frees its space.
#[derive(Debug)]
pub struct SpillFile {
    file: File,
    folder: PathBuf,
    quota: Arc<Quota>,
    written: u64,
    read: u64,
}

impl Spill {
    /// A folder that may hold `limit` bytes. It is made, readable by its owner only, when it is first needed.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, limit: u64) -> Self {
        Self { folder: folder.into(), quota: Arc::new(Quota { limit, used: AtomicU64::new(0) }) }
    }

    /// Bytes on disk.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.quota.used.load(Ordering::Relaxed)
    }

    /// Makes a file.
    ///
    /// # Errors
    /// *transient* `spill-disk-full` or `spill-failed`.
    pub fn create(&self) -> Result<SpillFile, Problem> {
        let file = create(&self.folder).map_err(|error| failed(&self.folder, "make", &error))?;
        let quota = Arc::clone(&self.quota);
        Ok(SpillFile { file, folder: self.folder.clone(), quota, written: 0, read: 0 })
    }
}

fn create(folder: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(format!("spill-{:032x}", rand::random::<u128>()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl SpillFile {
    /// Appends a frame. After an error the file is of no more use.
    ///
    /// # Errors
    /// *settings* `spill-quota` when the quota is used up, *transient* `spill-disk-full` when the disk is,
    /// *transient* `spill-failed` otherwise.
    pub fn append(&mut self, frame: &[u8]) -> Result<(), Problem> {
        let size = (HEAD + frame.len()) as u64;
        self.reserve(size)?;
        self.written += size;
        let length = u32::try_from(frame.len()).ok().filter(|length| *length as usize <= MAX_FRAME);
        let length = length.ok_or_else(|| Problem::internal("A spilled frame is too large."))?;
        let write = |file: &mut File| {
            file.write_all(&length.to_be_bytes())?;
            file.write_all(&crc32fast::hash(frame).to_be_bytes())?;
            file.write_all(frame)
        };
        write(&mut self.file).map_err(|error| failed(&self.folder, "write", &error))
    }

    /// Goes to the first frame.
    ///
    /// # Errors
    /// *transient* `spill-failed`.
    pub fn rewind(&mut self) -> Result<(), Problem> {
        self.read = 0;
        self.file.seek(SeekFrom::Start(0)).map(drop).map_err(|error| failed(&self.folder, "read", &error))
    }

    /// Reads the next frame into `into`, which is emptied before; false at the end.
    ///
    /// # Errors
    /// *transient* `spill-damaged` when the bytes are not those that were written.
    pub fn next_frame(&mut self, into: &mut Vec<u8>) -> Result<bool, Problem> {
        into.clear();
        if self.read == self.written {
            return Ok(false);
        }
        let mut head = [0; HEAD];
        self.fill(&mut head)?;
        let [l0, l1, l2, l3, crc @ ..] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        self.read += HEAD as u64 + u64::from(length);
        if self.read > self.written {
            return Err(self.damaged());
        }
        into.resize(length as usize, 0);
        self.fill(into)?;
        if crc32fast::hash(into) == u32::from_be_bytes(crc) { Ok(true) } else { Err(self.damaged()) }
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), Problem> {
        self.file.read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged(),
            _ => failed(&self.folder, "read", &error),
        })
    }

    fn reserve(&self, size: u64) -> Result<(), Problem> {
        let before = self.quota.used.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) <= self.quota.limit {
            return Ok(());
        }
        self.quota.used.fetch_sub(size, Ordering::Relaxed);
        let text = format!(
            "Transactions too large for the memory need more than the {} MiB of disk that the task may use.",
            self.quota.limit >> 20
        );
        Err(Problem::new(Fault::Settings, "spill-quota", text)
            .advice("Raise the task's setting spill_mib (or memory_mib), and resume the task."))
    }

    fn damaged(&self) -> Problem {
        let text = format!("A spill file in {} does not hold what was written to it.", self.folder.display());
        Problem::transient("spill-damaged", text)
            .advice("The task restarts from its bookmark; if this repeats, check the worker's disk.")
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.written, Ordering::Relaxed);
    }
}

fn failed(folder: &Path, doing: &str, error: &io::Error) -> Problem {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let text = format!("Could not {doing} a spill file in {}: {error}.", folder.display());
    let problem = Problem::transient(if full { "spill-disk-full" } else { "spill-failed" }, text);
    let problem = match error.raw_os_error() {
        Some(code) => problem.server_code(format!("errno {code}")),
        None => problem,
    };
    if full { problem.advice("Make room on the worker's disk, or give it another spill folder.") } else { problem }
}

/// Runs disk work without holding up other tasks of the runtime, where the runtime has threads for that.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn frames_come_back_in_order_and_nothing_stays() {
        let folder = folder();
        let inner = folder.path().join("a/b");
        let spill = Spill::new(&inner, 1 << 20);
        let mut file = spill.create().unwrap();
        file.append(b"one").unwrap();
        file.append(b"").unwrap();
        file.append(b"three").unwrap();
        assert_eq!((spill.used(), file.bytes()), (8 * 3 + 8, 32));
        assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
        let mut frame = Vec::new();
        for _ in 0..2 {
            file.rewind().unwrap();
            for expected in [&b"one"[..], b"", b"three"] {
                assert!(file.next_frame(&mut frame).unwrap());
                assert_eq!(frame, expected);
            }
            assert!(!file.next_frame(&mut frame).unwrap());
        }
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 0, "nothing is left for a killed process to leave");
        drop(file);
        assert_eq!(spill.used(), 0);
    }

    #[test]
    fn the_quota_is_shared_and_given_back() {
        let folder = folder();
        let spill = Spill::new(folder.path(), 40);
        let mut first = spill.create().unwrap();
        let mut second = spill.create().unwrap();
        first.append(&[0; 20]).unwrap();
        let problem = second.append(&[0; 20]).unwrap_err();
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "spill-quota"));
        drop(first);
        second.append(&[0; 20]).unwrap();
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let folder = folder();
        for place in [3, 5, 9] {
            let mut file = Spill::new(folder.path(), 1 << 20).create().unwrap();
            file.append(b"some rows").unwrap();
            file.file.seek(SeekFrom::Start(place)).unwrap();
            file.file.write_all(&[0x7f]).unwrap();
            file.rewind().unwrap();
            let problem = file.next_frame(&mut Vec::new()).unwrap_err();
            assert_eq!((problem.fault, problem.code.as_str()), (Fault::Transient, "spill-damaged"), "byte {place}");
        }
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        let problem = on("/dev/full", 0).append(b"rows").unwrap_err();
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Transient, "spill-disk-full"));
        assert!(problem.advice.is_some());
    }

    #[test]
    fn a_disk_that_fails_is_told_with_the_systems_reason() {
        // Nothing is mapped at its beginning: the kernel answers EIO, as for a broken device.
        let broken = || on("/proc/self/mem", 20);
        let problems = [broken().append(b"rows").unwrap_err(), broken().next_frame(&mut Vec::new()).unwrap_err()];
        for (problem, doing) in problems.iter().zip(["write", "read"]) {
            assert_eq!((problem.fault, problem.code.as_str()), (Fault::Transient, "spill-failed"), "{problem:?}");
            assert_eq!(problem.server_code.as_deref(), Some("errno 5"), "{problem:?}");
            assert!(problem.text.contains(&format!("Could not {doing} a spill file")), "{problem:?}");
        }
    }

    /// A device in the place of a file that has so many bytes.
    fn on(device: &str, written: u64) -> SpillFile {
        let file = OpenOptions::new().read(true).write(true).open(device).unwrap();
        let quota = Arc::new(Quota { limit: 1 << 20, used: AtomicU64::new(0) });
        SpillFile { file, folder: PathBuf::from("/dev"), quota, written, read: 0 }
    }
}
