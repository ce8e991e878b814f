//! A TCP stream that is read without being watched while its reader is behind.
//!
//! A socket that the runtime watches wakes a thread of it with each piece that comes, also while nobody waits for any. A
//! server that sends message by message then pays for a wake-up with each: on two cores that took more than half of its
//! speed. So for a reader that is behind the socket is taken out of the watch and looked at every few milliseconds, until
//! it stays empty.
//!
//! Where the server is near, little is let come in before it is read: what the server sends then waits with its own
//! machine and goes out in large pieces. The window would otherwise grow until each message is on its way by itself.

use std::io::{self, Read, Write};
use std::net;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// After what time an unwatched socket that was empty is looked at again.
const PAUSE: Duration = Duration::from_millis(4);
/// After how many looks at an empty socket it is watched.
const LOOKS: u8 = 3;

/// A connection that is made within this time leads to a server that is near.
pub(super) const NEAR: Duration = Duration::from_millis(1);
/// How much may come in from there before it is read, in bytes. Less than two of loopback's segments would stall it.
const FROM_NEAR: usize = 128 * 1024;

/// See the module.
pub(super) struct Tcp {
    stream: Stream,
    is_near: bool,
    unhurried: Arc<AtomicBool>,
    /// Whether somebody waits to write: only a watched socket wakes him.
    write_waits: bool,
    /// How often an unwatched socket was empty, one time after the other.
    empty: u8,
    pause: Option<Pin<Box<Sleep>>>,
}

enum Stream {
    Watched(TcpStream),
    Unwatched(net::TcpStream),
    /// It could not be moved between the two.
    Lost,
}

impl Tcp {
    pub(super) fn new(stream: TcpStream, is_near: bool) -> Self {
        Self {
            stream: Stream::Watched(stream),
            is_near,
            unhurried: Arc::default(),
            write_waits: false,
            empty: 0,
            pause: None,
        }
    }

    /// From now on it is read in large pieces.
    pub(super) fn streams(&self) {
        let Stream::Watched(stream) = &self.stream else { return };
        if self.is_near
            && let Err(error) = SockRef::from(stream).set_recv_buffer_size(FROM_NEAR)
        {
            tracing::debug!(%error, "how much may come in before it is read stays as it is");
        }
    }

    /// Whether the reader comes by itself, so that it needn't be woken.
    pub(super) fn unhurried(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unhurried)
    }

    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if let Stream::Unwatched(_) = self.stream
            && let Stream::Unwatched(stream) = std::mem::replace(&mut self.stream, Stream::Lost)
        {
            self.stream = Stream::Watched(TcpStream::from_std(stream)?);
        }
        match &mut self.stream {
            Stream::Watched(stream) => Ok(Pin::new(stream)),
            Stream::Unwatched(_) | Stream::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The socket, if nobody needs to be woken by it.
    fn unwatched(&mut self) -> io::Result<Option<&mut net::TcpStream>> {
        let may_be = self.unhurried.load(Ordering::Relaxed) && !self.write_waits;
        if may_be
            && matches!(self.stream, Stream::Watched(_))
            && let Stream::Watched(stream) = std::mem::replace(&mut self.stream, Stream::Lost)
        {
            self.stream = Stream::Unwatched(stream.into_std()?);
        }
        Ok(match &mut self.stream {
            Stream::Unwatched(stream) => Some(stream),
            Stream::Watched(_) | Stream::Lost => None,
        })
    }
}

impl Tcp {
    /// Reads from a socket that is not watched; none if it is to be.
    fn poll_unwatched(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Option<io::Result<()>>> {
        loop {
            let Some(stream) = self.unwatched()? else { return Poll::Ready(None) };
            if let Some(read) = at_once(|| stream.read(buf.initialize_unfilled())) {
                (self.empty, self.pause) = (0, None);
                return Poll::Ready(Some(read.map(|read| buf.advance(read))));
            }
            let is_over = !self.unhurried.load(Ordering::Relaxed) || self.empty >= LOOKS;
            if is_over {
                (self.empty, self.pause) = (0, None);
                return Poll::Ready(None);
            }
            ready!(self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE))).as_mut().poll(cx));
            (self.empty, self.pause) = (self.empty + 1, None);
        }
    }
}

/// What is done at once; none if it must be waited for.
fn at_once(mut attempt: impl FnMut() -> io::Result<usize>) -> Option<io::Result<usize>> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            done => return Some(done),
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match ready!(this.poll_unwatched(cx, buf)) {
            Some(read) => Poll::Ready(read),
            None => this.watched()?.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Stream::Unwatched(stream) = &mut this.stream
            && let Some(written) = at_once(|| stream.write(bytes))
        {
            return Poll::Ready(written);
        }
        let written = this.watched()?.poll_write(cx, bytes);
        this.write_waits = written.is_pending();
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::{sleep, timeout};

    use super::*;

    async fn pair() -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Tcp::new(near, true), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_comes_is_read_whether_it_is_waited_for_or_not() {
        let (mut near, mut far) = pair().await;
        let unhurried = near.unhurried();
        let mut buf = [0; 8];
        for turn in 0..6_u8 {
            unhurried.store(turn % 3 != 0, Ordering::Relaxed);
            if turn % 2 == 0 {
                far.write_all(&[turn]).await.unwrap();
                sleep(Duration::from_millis(5)).await;
                assert_eq!((near.read(&mut buf).await.unwrap(), buf[0]), (1, turn));
            } else {
                // Nothing is at hand yet, so that it has to be woken.
                let (read, ()) = tokio::join!(timeout(Duration::from_secs(20), near.read(&mut buf)), async {
                    sleep(Duration::from_millis(5)).await;
                    far.write_all(&[turn]).await.unwrap();
                });
                assert_eq!((read.unwrap().unwrap(), buf[0]), (1, turn));
            }
        }
        drop(far);
        assert_eq!(near.read(&mut buf).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_waits_to_write_is_woken_although_the_reader_is_unhurried() {
        const MANY: usize = 64 << 20;
        let (near, mut far) = pair().await;
        near.unhurried().store(true, Ordering::Relaxed);
        let (mut reading, mut writing) = tokio::io::split(near);
        let written = tokio::spawn(async move { writing.write_all(&vec![7; MANY]).await });
        let mut buf = [0; 8];
        for _ in 0..50 {
            drop(timeout(Duration::from_millis(1), reading.read(&mut buf)).await);
        }
        let mut taken = 0;
        let mut buf = vec![0; 1 << 20];
        while taken < MANY {
            taken += timeout(Duration::from_secs(20), far.read(&mut buf)).await.unwrap().unwrap();
        }
        written.await.unwrap().unwrap();
    }
}
