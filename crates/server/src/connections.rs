//! Connections: TLS where it is used, then HTTP/1 or HTTP/2, with an end to every wait for a client.
//!
//! 1. The handshake must be done, and then the first bytes be there, within [`OPENING`].
//! 2. A request's head must be whole within [`HEAD`]; the same ends connections that are kept open and not used.
//! 3. Bodies are `pace`'s.
//!
//! Each connection is a task of its own, so that a slow client keeps nobody waiting.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig as RustlsConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::config::TlsFiles;
use crate::serve::{Peer, StartError};

/// How long a handshake and the wait for the first bytes may take, each.
const OPENING: Duration = Duration::from_secs(10);
/// How long a request's head may take, from the end of the request before.
const HEAD: Duration = Duration::from_secs(10);
/// How often an HTTP/2 client is asked whether it is there, and how long it may take to answer.
const STILL_THERE: Duration = Duration::from_secs(20);

/// Takes connections until the shutdown, then waits for the requests under way.
pub(crate) async fn serve(
    mut listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    app: Router,
    shutdown: CancellationToken,
) {
    let tracker = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            // Waits a lack of file descriptors out.
            accepted = Listener::accept(&mut listener) => accepted,
            () = shutdown.cancelled() => break,
        };
        let (acceptor, app, shutdown) = (acceptor.clone(), app.clone(), shutdown.clone());
        tracker.spawn(async move {
            if let Some(stream) = open(stream, acceptor).await {
                speak(stream, peer, app, shutdown).await;
            }
        });
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

/// Bytes both ways.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn open(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Option<Box<dyn Stream>> {
    // Without it a short answer may wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else { return Some(Box::new(stream)) };
    match tokio::time::timeout(OPENING, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

async fn speak(stream: Box<dyn Stream>, peer: SocketAddr, app: Router, shutdown: CancellationToken) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(Peer(peer)));
        app.clone().oneshot(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(STILL_THERE).keep_alive_timeout(STILL_THERE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Opening::new(stream)), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

/// A stream whose first bytes must come in time. The server looks at up to [`PREFACE`] bytes to tell HTTP/2 from
/// HTTP/1, with no limit of its own.
struct Opening<S> {
    stream: S,
    awaited: usize,
    deadline: Pin<Box<Sleep>>,
}

/// The length of HTTP/2's connection preface.
const PREFACE: usize = 24;

impl<S> Opening<S> {
    fn new(stream: S) -> Self {
        Self { stream, awaited: PREFACE, deadline: Box::pin(tokio::time::sleep(OPENING)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            this.awaited = this.awaited.saturating_sub(buffer.filled().len().saturating_sub(before));
        } else if this.awaited > 0 {
            return this.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What speaks TLS with a certificate and its key.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let wrong = |error: &dyn std::fmt::Display| StartError::Tls(error.to_string());
    let chain = CertificateDer::pem_slice_iter(files.certificates.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_slice(files.key.expose_secret().as_bytes()).map_err(|error| wrong(&error))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = RustlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
