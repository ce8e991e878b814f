//! Each trouble does what it says, on plain servers that echo.

use std::io;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Proxy, Trouble, Way};

/// So long nothing must come where nothing may.
const QUIET: Duration = Duration::from_millis(400);
/// So long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy before a server that sends everything back and tells what it got.
async fn echo() -> (Proxy, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                    drop(tell.send(chunk[..length].to_vec()));
                    if stream.write_all(&chunk[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (Proxy::start(port).await.unwrap(), told)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
}

async fn said(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}

async fn hears(stream: &mut TcpStream, bytes: &[u8]) {
    let mut heard = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.expect("the bytes come").unwrap();
    assert_eq!(heard, bytes);
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut heard = [0; 16];
    assert!(timeout(QUIET, stream.read(&mut heard)).await.is_err(), "something came, or the connection ended");
}

/// How the connection ended: `Ok` with what still came for FIN, the error for RST.
async fn end(stream: &mut TcpStream) -> Result<Vec<u8>, io::ErrorKind> {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection ends");
    read.map(|_| rest).map_err(|error| error.kind())
}

#[tokio::test]
async fn without_trouble_every_byte_and_each_sides_end_passes() {
    let (proxy, _told) = echo().await;
    let mut stream = connect(&proxy).await;
    let long: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut reads, mut writes) = stream.split();
    let mut back = vec![0; long.len()];
    let (wrote, read) = tokio::join!(writes.write_all(&long), reads.read_exact(&mut back));
    wrote.unwrap();
    read.unwrap();
    assert!(back == long);
    stream.shutdown().await.unwrap();
    assert_eq!(end(&mut stream).await, Ok(Vec::new()));
    let gone = async {
        while proxy.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("an ended connection is forgotten");
}

#[tokio::test]
async fn nobody_behind_the_proxy_is_a_reset() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let proxy = Proxy::start(port).await.unwrap();
    let mut stream = connect(&proxy).await;
    assert_eq!(end(&mut stream).await, Err(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_cut_ends_open_and_new_connections_with_fin_until_it_heals() {
    let (proxy, _told) = echo().await;
    let mut open = connect(&proxy).await;
    said(&mut open, b"one").await;
    hears(&mut open, b"one").await;
    proxy.strike(Trouble::Cut);
    assert_eq!(end(&mut open).await, Ok(Vec::new()));
    assert_eq!(end(&mut connect(&proxy).await).await, Ok(Vec::new()));
    proxy.heal();
    let mut new = connect(&proxy).await;
    said(&mut new, b"two").await;
    hears(&mut new, b"two").await;
}

#[tokio::test]
async fn a_reset_ends_open_and_new_connections_with_rst() {
    let (proxy, _told) = echo().await;
    let mut open = connect(&proxy).await;
    said(&mut open, b"one").await;
    hears(&mut open, b"one").await;
    proxy.strike(Trouble::Reset);
    assert_eq!(end(&mut open).await, Err(io::ErrorKind::ConnectionReset));
    assert_eq!(end(&mut connect(&proxy).await).await, Err(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn bytes_vanish_in_a_hole_and_come_by_retransmission_when_it_ends_in_time() {
    let (proxy, mut told) = echo().await;
    let mut open = connect(&proxy).await;
    said(&mut open, b"one").await;
    hears(&mut open, b"one").await;
    told.recv().await.unwrap();
    proxy.strike(Trouble::Hole);
    said(&mut open, b"two").await;
    hears_nothing(&mut open).await;
    assert!(told.try_recv().is_err());
    let new = TcpStream::connect(("127.0.0.1", proxy.port()));
    assert!(timeout(QUIET, new).await.is_err(), "a connection was made through a hole");
    proxy.heal();
    hears(&mut open, b"two").await;
    let mut new = connect(&proxy).await;
    said(&mut new, b"three").await;
    hears(&mut new, b"three").await;
}

#[tokio::test]
async fn a_sender_gives_up_on_a_hole_after_its_own_time() {
    let (proxy, _told) = echo().await;
    let mut open = connect(&proxy).await;
    SockRef::from(&open).set_tcp_user_timeout(Some(Duration::from_millis(800))).unwrap();
    said(&mut open, b"one").await;
    hears(&mut open, b"one").await;
    proxy.strike(Trouble::Hole);
    said(&mut open, b"two").await;
    assert_eq!(end(&mut open).await, Err(io::ErrorKind::TimedOut));
}

#[tokio::test]
async fn in_a_half_open_connection_one_direction_lives() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().port()).await.unwrap();
    let (mut client, accepted) = tokio::join!(connect(&proxy), listener.accept());
    let mut server = accepted.unwrap().0;
    said(&mut client, b"up").await;
    hears(&mut server, b"up").await;

    proxy.strike(Trouble::HalfOpen(Way::Up));
    said(&mut client, b"lost up").await;
    said(&mut server, b"down").await;
    hears(&mut client, b"down").await;
    hears_nothing(&mut server).await;
    proxy.heal();
    hears(&mut server, b"lost up").await;

    proxy.strike(Trouble::HalfOpen(Way::Down));
    said(&mut server, b"lost down").await;
    said(&mut client, b"up again").await;
    hears(&mut server, b"up again").await;
    hears_nothing(&mut client).await;
    proxy.heal();
    hears(&mut client, b"lost down").await;
}

#[tokio::test]
async fn a_delay_is_of_each_way_and_not_of_each_piece() {
    let (proxy, _told) = echo().await;
    let mut stream = connect(&proxy).await;
    let delay = Duration::from_millis(300);
    proxy.strike(Trouble::Delay(delay));
    let begun = Instant::now();
    for number in 0..10_u8 {
        said(&mut stream, &[number]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hears(&mut stream, &[0]).await;
    assert!(begun.elapsed() >= 2 * delay, "the echo was back after {:?}", begun.elapsed());
    hears(&mut stream, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    // Ten pieces after one another would take six seconds.
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_rate_is_kept_and_ends_with_the_trouble() {
    let (proxy, _told) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.strike(Trouble::Rate(64_000));
    let begun = Instant::now();
    said(&mut stream, &vec![7; 64_000]).await;
    hears(&mut stream, &vec![7; 64_000]).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "64 kB took {took:?}");
    said(&mut stream, &vec![8; 640_000]).await;
    proxy.heal();
    let begun = Instant::now();
    hears(&mut stream, &vec![8; 640_000]).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "without the limit it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_is_reset_after_so_many_bytes_and_not_one_more() {
    let (proxy, mut told) = echo().await;
    let mut stream = connect(&proxy).await;
    said(&mut stream, b"before").await;
    hears(&mut stream, b"before").await;
    proxy.strike(Trouble::CutAfter(1_000));
    // The rest is refused when the connection is reset in between.
    drop(stream.write_all(&[1; 5_000]).await);
    assert_eq!(end(&mut stream).await, Err(io::ErrorKind::ConnectionReset));
    drop(proxy);
    let mut got = 0;
    while let Ok(Some(bytes)) = timeout(QUIET, told.recv()).await {
        got += bytes.len();
    }
    assert_eq!(got, "before".len() + 1_000);
}

#[tokio::test]
async fn one_reply_to_a_commit_is_swallowed_and_its_connection_cut() {
    let (proxy, mut told) = echo().await;
    let (mut one, mut other) = (connect(&proxy).await, connect(&proxy).await);
    said(&mut one, b"C\0\0\0\x0bCOMMIT\0").await;
    hears(&mut one, b"C\0\0\0\x0bCOMMIT\0").await;
    proxy.strike(Trouble::SwallowCommit);
    said(&mut one, b"C\0\0\0\x0dROLLBACK\0").await;
    hears(&mut one, b"C\0\0\0\x0dROLLBACK\0").await;
    assert_eq!(proxy.swallowed(), 0);
    said(&mut one, b"12C\0\0\0\x0bCOMMIT\0Z").await;
    assert_eq!(end(&mut one).await, Ok(b"12".to_vec()));
    assert_eq!((proxy.swallowed(), proxy.trouble()), (1, None));
    said(&mut other, b"C\0\0\0\x0bCOMMIT\0").await;
    hears(&mut other, b"C\0\0\0\x0bCOMMIT\0").await;
    let mut got = Vec::new();
    while let Ok(Some(bytes)) = timeout(QUIET, told.recv()).await {
        got.extend(bytes);
    }
    assert_eq!(got.windows(6).filter(|window| window == b"COMMIT").count(), 3, "the server got every one");
}
