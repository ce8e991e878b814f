//! TCP, and TLS over it once that was agreed.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use wavemark_tls::MaybeTls;

use super::WireError;

/// How long a connection is idle before it is looked whether the other side is there, and how long that may take.
const KEEPALIVE: Duration = Duration::from_secs(10);
const UNANSWERED: Duration = Duration::from_secs(30);

/// A connection to a server, encrypted or not.
pub(super) type Socket = MaybeTls<TcpStream>;

/// Tries the host's addresses in the order in which the resolver gives them.
pub(super) async fn connect(host: &str, port: u16, within: Duration) -> Result<Socket, WireError> {
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
                return Ok(Socket::Plain(stream));
            }
            Ok(Err(source)) => last = WireError::Connect { host: host.to_owned(), port, source },
            Err(_) => last = WireError::Timeout { step: "connecting", after: within },
        }
    }
    Err(last)
}

/// Sets up TLS; the server was asked to.
pub(super) async fn encrypt(socket: Socket, connector: &TlsConnector, host: &str) -> Result<Socket, WireError> {
    let failed = |source| WireError::Tls { host: host.to_owned(), source };
    match socket {
        Socket::Plain(stream) => Socket::encrypt(stream, connector, host).await.map_err(failed),
        encrypted @ Socket::Tls(_) => Ok(encrypted),
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
