//! TCP, and TLS over it where the settings say so.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tcp::{NEAR, Tcp};
use super::{ConnectSettings, WireError};

/// A connection to a server, encrypted or not.
pub(super) enum Socket {
    Plain(Tcp),
    Tls(Box<TlsStream<Tcp>>),
}

impl Socket {
    /// Connects, and sets up TLS unless the settings disable it.
    pub(super) async fn connect(settings: &ConnectSettings) -> Result<Self, WireError> {
        let (stream, is_near) = tcp(settings).await?;
        tune(&stream, settings)?;
        let stream = Tcp::new(stream, is_near);
        match settings.tls.connector() {
            None => Ok(Self::Plain(stream)),
            Some(connector) => {
                limited("setting up TLS", settings.connect_timeout, encrypt(stream, &connector, &settings.host)).await
            }
        }
    }

    /// The server's certificate, if the connection is encrypted.
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(std::convert::AsRef::as_ref)
            }
        }
    }

    /// From now on it is read in large pieces.
    pub(super) fn streams(&self) {
        match self {
            Self::Plain(stream) => stream.streams(),
            Self::Tls(stream) => stream.get_ref().0.streams(),
        }
    }

    /// Whether its reader comes by itself, so that it needn't be woken by what comes.
    pub(super) fn unhurried(&self) -> Arc<AtomicBool> {
        match self {
            Self::Plain(stream) => stream.unhurried(),
            Self::Tls(stream) => stream.get_ref().0.unhurried(),
        }
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Bounds a step of connecting.
pub(super) async fn limited<T>(
    step: &'static str,
    after: Duration,
    work: impl Future<Output = Result<T, WireError>>,
) -> Result<T, WireError> {
    tokio::time::timeout(after, work).await.unwrap_or(Err(WireError::Timeout { step, after }))
}

/// Tries the host's addresses in the order in which the resolver gives them; with whether the one is near that
/// answered: on this machine, or soon.
async fn tcp(settings: &ConnectSettings) -> Result<(TcpStream, bool), WireError> {
    let ConnectSettings { host, port, connect_timeout, .. } = settings;
    let resolve = |source| WireError::Resolve { host: host.clone(), source };
    let addresses = limited("finding the host's address", *connect_timeout, async {
        lookup_host((host.as_str(), *port)).await.map_err(resolve)
    })
    .await?;
    let mut last = resolve(io::ErrorKind::NotFound.into());
    for address in addresses {
        let began = Instant::now();
        match tokio::time::timeout(*connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address.ip().is_loopback() || began.elapsed() < NEAR)),
            Ok(Err(source)) => last = WireError::Connect { host: host.clone(), port: *port, source },
            Err(_) => last = WireError::Timeout { step: "connecting", after: *connect_timeout },
        }
    }
    Err(last)
}

/// Makes a peer that vanished without a word an error within a known time.
fn tune(stream: &TcpStream, settings: &ConnectSettings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(settings.keepalive).with_interval(settings.keepalive / 3);
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    let keepalive = keepalive.with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.user_timeout))?;
    Ok(())
}

/// `SSLRequest`, its one byte of an answer, and the handshake (protocol-flow, "SSL Session Encryption").
///
/// Exactly one byte is read in plain text: whatever a man in the middle pushes in behind it goes into the
/// handshake, which fails.
async fn encrypt(mut stream: Tcp, connector: &TlsConnector, host: &str) -> Result<Socket, WireError> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await {
        Ok(b'S') => {}
        Ok(b'N' | b'E') => return Err(WireError::TlsNotOffered),
        Ok(other) => return Err(WireError::Protocol(format!("it answered the TLS request with 0x{other:02x}"))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(WireError::Closed),
        Err(error) => return Err(error.into()),
    }
    let failed = |source| WireError::Tls { host: host.to_owned(), source };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let session = connector.connect(name, stream).await.map_err(failed)?;
    Ok(Socket::Tls(Box::new(session)))
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
