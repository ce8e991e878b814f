//! One connection through the proxy: two sockets, and two streams of bytes between them.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::reply::{CommitReply, asks_to_commit};
use super::{FLIPPED, Shared, Trouble, Way, dark};

/// The most that is read at once, and how many such pieces wait while they are delayed: more than a delay is long.
const CHUNK: usize = 16 * 1024;
const QUEUE: usize = 4_096;
/// A slow connection gives its bytes in so many steps a second.
const STEPS: usize = 20;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    Fin,
    Reset,
}

impl Close {
    /// Makes the socket end in this way, at the latest when it is dropped.
    pub(super) fn prepare<S: AsFd>(self, socket: &S) {
        let socket = SockRef::from(socket);
        match self {
            // Dropped with bytes unread it would end with RST. One that is lost already needs no end.
            Self::Fin => drop(socket.shutdown(Shutdown::Write)),
            Self::Reset => socket.set_linger(Some(Duration::ZERO)).expect("a socket of ours takes the setting"),
        }
    }
}

/// A side that is lost is told to the other in the same way.
impl From<io::Error> for Close {
    fn from(_: io::Error) -> Self {
        Self::Reset
    }
}

/// The two sockets.
pub(super) struct Link {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    /// Bytes that went through while connections are cut after some.
    counted: AtomicU64,
    /// The client asked to commit, in MySQL's protocol, and has no answer yet.
    commits: AtomicBool,
}

/// The trouble as it is, and as it changes.
type Now = watch::Receiver<Option<Trouble>>;

impl Link {
    pub(super) fn new(client: TcpStream, server: TcpStream) -> Self {
        for socket in [&client, &server] {
            // As on the sockets that would be there without the proxy; a connection that is lost already shows itself.
            drop(socket.set_nodelay(true));
        }
        Self { client, server, counted: AtomicU64::new(0), commits: AtomicBool::new(false) }
    }

    /// Each side's socket receives nothing while what that side sends is to be lost.
    pub(super) fn darken(&self, trouble: Option<Trouble>) {
        let hides = |way| trouble.is_some_and(|trouble| trouble.hides(way));
        dark::set(&self.client, hides(Way::Up));
        dark::set(&self.server, hides(Way::Down));
    }

    /// Carries bytes both ways until both sides ended, one was lost, or a trouble ends the connection.
    pub(super) async fn run(&self, shared: &Shared) -> Close {
        let mut trouble = shared.trouble.subscribe();
        let carried = async { tokio::try_join!(self.carry(shared, Way::Up), self.carry(shared, Way::Down)) };
        tokio::select! {
            ended = carried => ended.err().unwrap_or(Close::Fin),
            struck = trouble.wait_for(|trouble| trouble.is_some_and(|trouble| trouble.close().is_some())) => {
                struck.ok().and_then(|trouble| trouble.and_then(Trouble::close)).unwrap_or(Close::Reset)
            }
        }
    }

    async fn carry(&self, shared: &Shared, way: Way) -> Result<(), Close> {
        let (from, to) = match way {
            Way::Up => (&self.client, &self.server),
            Way::Down => (&self.server, &self.client),
        };
        let (queue, due) = mpsc::channel(QUEUE);
        tokio::try_join!(take_in(from, queue), self.give_out(shared, way, to, due)).map(drop)
    }

    async fn give_out(
        &self,
        shared: &Shared,
        way: Way,
        to: &TcpStream,
        mut due: mpsc::Receiver<(Instant, Vec<u8>)>,
    ) -> Result<(), Close> {
        let mut trouble = shared.trouble.subscribe();
        let mut reply = CommitReply::default();
        while let Some((taken, mut chunk)) = due.recv().await {
            let answers_commit = match way {
                Way::Up => self.commits.fetch_or(asks_to_commit(&chunk), Ordering::Relaxed),
                Way::Down => self.commits.swap(false, Ordering::Relaxed),
            };
            match until_due(&mut trouble, way, taken).await {
                Some(Trouble::Rate(rate)) => slowly(to, &chunk, rate, &trouble).await?,
                Some(Trouble::CutAfter(most)) => {
                    let length = chunk.len() as u64;
                    let before = self.counted.fetch_add(length, Ordering::Relaxed);
                    if before + length >= most {
                        let room = usize::try_from(most.saturating_sub(before)).unwrap_or(chunk.len());
                        write(to, &chunk[..room.min(chunk.len())]).await?;
                        return Err(Close::Reset);
                    }
                    write(to, &chunk).await?;
                }
                Some(Trouble::SwallowCommit) if way == Way::Down && answers_commit && shared.take_swallow() => {
                    return Err(Close::Fin);
                }
                Some(Trouble::SwallowCommit) if way == Way::Down => match reply.find(&chunk) {
                    Some(before) if shared.take_swallow() => {
                        write(to, &chunk[..before]).await?;
                        return Err(Close::Fin);
                    }
                    _ => write(to, &chunk).await?,
                },
                Some(Trouble::FlipBit)
                    if way == Way::Down && chunk.len() >= FLIPPED && shared.take(Trouble::FlipBit) =>
                {
                    let middle = chunk.len() / 2;
                    chunk[middle] ^= 0x10;
                    write(to, &chunk).await?;
                }
                _ => write(to, &chunk).await?,
            }
        }
        Ok(SockRef::from(to).shutdown(Shutdown::Write)?)
    }
}

/// Reads until the side ends; each piece carries the time of its arrival.
async fn take_in(from: &TcpStream, queue: mpsc::Sender<(Instant, Vec<u8>)>) -> Result<(), Close> {
    loop {
        let mut chunk = vec![0; CHUNK];
        let length = read(from, &mut chunk).await?;
        chunk.truncate(length);
        if length == 0 || queue.send((Instant::now(), chunk)).await.is_err() {
            return Ok(());
        }
    }
}

/// Waits until what arrived at `taken` may go on, and gives the trouble then. In a hole nothing goes on, either way:
/// what the sender was told to be received is in flight.
async fn until_due(trouble: &mut Now, way: Way, taken: Instant) -> Option<Trouble> {
    loop {
        let now = *trouble.borrow_and_update();
        let due = match now {
            Some(now) if now.hides(way) => None,
            Some(Trouble::Delay(delay)) => Some(taken + delay),
            _ => return now,
        };
        let waited = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => return now,
            changed = trouble.changed() => if changed.is_err() { return None },
        }
    }
}

async fn slowly(to: &TcpStream, chunk: &[u8], rate: usize, trouble: &Now) -> io::Result<()> {
    for piece in chunk.chunks((rate / STEPS).max(1)) {
        write(to, piece).await?;
        if *trouble.borrow() == Some(Trouble::Rate(rate)) {
            sleep(Duration::from_secs(1) / u32::try_from(STEPS).unwrap_or(1)).await;
        }
    }
    Ok(())
}

async fn read(from: &TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn write(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
