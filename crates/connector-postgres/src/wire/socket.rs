//! TCP, and TLS over it where the settings say so.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use wavemark_tls::MaybeTls;

use super::tcp::{NEAR, Tcp};
use super::{ConnectSettings, WireError};

/// A connection to a server, encrypted or not.
pub(super) type Socket = MaybeTls<Tcp>;

/// Connects, and sets up TLS unless the settings disable it.
pub(super) async fn connect(settings: &ConnectSettings) -> Result<Socket, WireError> {
    let (stream, is_near) = tcp(settings).await?;
    tune(&stream, settings)?;
    let stream = Tcp::new(stream, is_near);
    match settings.tls.connector() {
        None => Ok(Socket::Plain(stream)),
        Some(connector) => {
            limited("setting up TLS", settings.connect_timeout, encrypt(stream, &connector, &settings.host)).await
        }
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
    Socket::encrypt(stream, connector, host).await.map_err(failed)
}
