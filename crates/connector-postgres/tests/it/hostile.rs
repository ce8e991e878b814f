//! Servers that do what no real one does: scripted bytes over a real socket.

use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wavemark_connector_postgres::tls::{Tls, TlsMode, TlsSettings};
use wavemark_connector_postgres::wire::{ChannelBinding, ConnectSettings, Connection, WireError};

/// Serves one connection: after each thing the client says comes the next of these answers.
async fn answer(answers: Vec<Vec<u8>>, mode: TlsMode, channel_binding: ChannelBinding) -> WireError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        for answer in answers {
            let mut chunk = [0; 4096];
            let length = socket.read(&mut chunk).await.unwrap();
            said.extend_from_slice(&chunk[..length]);
            socket.write_all(&answer).await.unwrap();
        }
        // Whatever the client still says, until it hangs up.
        socket.read_to_end(&mut said).await.ok();
        said
    });
    let tls = Tls::new(&TlsSettings { mode, ..TlsSettings::default() }).unwrap();
    let mut settings = ConnectSettings::new("127.0.0.1", port, "u", "d", tls);
    settings.password = Some(SecretString::from("the secret"));
    settings.channel_binding = channel_binding;
    settings.connect_timeout = Duration::from_secs(2);
    let error = Connection::connect(&settings).await.err().expect("such a server must be refused");
    let said = server.await.unwrap();
    assert!(!said.windows(10).any(|window| window == b"the secret"), "the password was sent");
    error
}

async fn plain(answers: Vec<Vec<u8>>) -> String {
    answer(answers, TlsMode::Disable, ChannelBinding::Prefer).await.to_string()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// An authentication request with its code.
fn request(code: u8, body: &[u8]) -> Vec<u8> {
    message(b'R', &[&[0, 0, 0, code][..], body].concat())
}

#[tokio::test]
async fn a_server_that_does_not_prove_itself_is_refused() {
    let error = plain(vec![request(10, b"SCRAM-SHA-256\0\0"), request(0, b"")]).await;
    assert_eq!(error, "cannot log in: the server ended SCRAM without proving itself");
}

#[tokio::test]
async fn a_server_cannot_talk_the_client_down_from_scram() {
    let error = plain(vec![request(10, b"SCRAM-SHA-256\0\0"), request(3, b"")]).await;
    assert_eq!(error, "the server broke the protocol: authentication request 3 out of turn");
    let error = plain(vec![request(10, b"SCRAM-SHA-256\0SCRAM-SHA-256-PLUS\0\0")]).await;
    assert_eq!(error, "the server broke the protocol: it offers channel binding without TLS");
    let error = plain(vec![request(10, b"SCRAM-SHA-256\0\0"), request(11, b"r=another,s=AAAA,i=4096")]).await;
    assert_eq!(error, "cannot log in: invalid nonce");
}

#[tokio::test]
async fn a_demanded_channel_binding_keeps_the_password_from_whoever_asks() {
    for ask in [request(3, b""), request(5, b"salt"), request(10, b"SCRAM-SHA-256\0\0"), request(0, b"")] {
        let error = answer(vec![ask], TlsMode::Disable, ChannelBinding::Require).await.to_string();
        assert_eq!(error, "cannot log in: channel binding is demanded, but the server's way to log in has none");
    }
}

#[tokio::test]
async fn a_server_without_tls_never_hears_of_the_user() {
    for answered in [&b"N"[..], b"E"] {
        let error = answer(vec![answered.to_vec()], TlsMode::Require, ChannelBinding::Prefer).await;
        assert!(matches!(error, WireError::TlsNotOffered));
    }
    // Plain text pushed in behind the answer lands in the handshake.
    let pushed = [&b"S"[..], &request(0, b"")].concat();
    let error = answer(vec![pushed], TlsMode::Require, ChannelBinding::Prefer).await;
    assert!(matches!(error, WireError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn lengths_and_messages_out_of_place_are_errors() {
    let error = plain(vec![b"R\xff\xff\xff\xff".to_vec()]).await;
    assert_eq!(error, "the server broke the protocol: a message with the length -1");
    let error = plain(vec![message(b'R', b"\0")]).await;
    assert_eq!(error, "the server broke the protocol: a message that ends too early");
    let error = plain(vec![message(b'D', b"\0\0")]).await;
    assert_eq!(error, "the server broke the protocol: an unexpected message of the kind 'D'");
    let error = plain(vec![message(b'E', b"SFATAL\0C57P03\0Mstarting up\0\0")]).await;
    assert_eq!(error, "starting up (SQLSTATE 57P03)");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let error = plain(Vec::new()).await;
    assert_eq!(error, "logging in took longer than 2 s");
}
