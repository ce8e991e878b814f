//! TCP, and TLS over it once that was agreed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::WireError;

/// How long a connection is idle before it is looked whether the other side is there, and how long that may take.
const KEEPALIVE: Duration = Duration::from_secs(10);
const UNANSWERED: Duration = Duration::from_secs(30);

/// A connection to a server.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Tries the host's addresses in the order in which the resolver gives them.
    pub(crate) async fn connect(host: &str, port: u16, within: Duration) -> Result<Self, WireError> {
        let resolve = |source| WireError::Resolve { host: host.to_owned(), source };
        let addresses = tokio::time::timeout(within, lookup_host((host, port)))
            .await
            .map_err(|_| WireError::Timeout { step: "finding the host's address", after: within })?
            .map_err(resolve)?;
        let mut last = resolve(io::ErrorKind::NotFound.into());
        for address in addresses {
            match tokio::time::timeout(within, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    tune(&stream)?;
                    return Ok(Self::Plain(stream));
                }
                Ok(Err(source)) => last = WireError::Connect { host: host.to_owned(), port, source },
                Err(_) => last = WireError::Timeout { step: "connecting", after: within },
            }
        }
        Err(last)
    }

    /// Sets up TLS; the server was asked to.
    pub(crate) async fn encrypt(self, connector: &TlsConnector, host: &str) -> Result<Self, WireError> {
        let failed = |source| WireError::Tls { host: host.to_owned(), source };
        let Self::Plain(stream) = self else { return Ok(self) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let session = connector.connect(name, stream).await.map_err(failed)?;
        Ok(Self::Tls(Box::new(session)))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Makes a peer that vanished without a word an error within a known time.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNANSWERED))?;
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
