//! `LOAD DATA LOCAL INFILE` and statements by our own client.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Database, Shared};
use crate::wire::{Connection, Done, Login, WireError};

const INTO_A: &str = "LOAD DATA LOCAL INFILE 'token-1' INTO TABLE a CHARACTER SET binary";

async fn rows_are_loaded_in_pieces<P: Shared>() {
    let database = Database::<P>::new();
    database.run("CREATE TABLE a (id int PRIMARY KEY, text longtext)");
    let mut connection = database.connect().await;
    let mut load = connection.begin_load(INTO_A).await.unwrap();
    // More than a packet at once, rows cut anywhere.
    let long = "x".repeat(20_000_000);
    let text = format!("1\tone\n2\t{long}\n3\t\\N\n");
    load.send(&text.as_bytes()[..3]).await.unwrap();
    load.send(&text.as_bytes()[3..700_000]).await.unwrap();
    load.send(&text.as_bytes()[700_000..]).await.unwrap();
    assert_eq!(load.finish().await.unwrap(), Done { affected: 3, warnings: 0 });
    assert_eq!(database.shown("SELECT id, length(text) FROM a ORDER BY id"), ["1\t3", "2\t20000000", "3\tNULL"]);
    // What does not fit is a warning or a row that is missing, never an error.
    let mut load = connection.begin_load(INTO_A).await.unwrap();
    load.send(b"3\ttwice\n4\tfour\n").await.unwrap();
    assert_eq!(load.finish().await.unwrap(), Done { affected: 1, warnings: 1 });
    let empty = connection.begin_load(INTO_A).await.unwrap();
    assert_eq!(empty.finish().await.unwrap(), Done { affected: 0, warnings: 0 });
    connection.close().await;
}

async fn a_load_without_an_end_leaves_no_row_and_no_connection<P: Shared>() {
    let database = Database::<P>::new();
    database.run("CREATE TABLE a (id int PRIMARY KEY)");
    let mut connection = database.connect().await;
    let refused = connection.begin_load("LOAD DATA LOCAL INFILE 'token-1' INTO TABLE none").await.err().unwrap();
    assert_eq!(refused.code(), Some(1146));
    let mut load = connection.begin_load(INTO_A).await.unwrap();
    load.send(b"1\n2\n").await.unwrap();
    drop(load);
    assert!(matches!(connection.execute("SELECT 1").await, Err(WireError::Unfinished)));
    connection.close().await;
    assert_eq!(database.shown("SELECT count(*) FROM a"), ["0"]);
}

async fn statements_say_what_they_did<P: Shared>() {
    let database = Database::<P>::new();
    database.run("CREATE TABLE a (id int PRIMARY KEY, text longtext); INSERT INTO a VALUES (1, 'a'), (2, 'a')");
    let mut connection = database.connect().await;
    let found = connection.execute("UPDATE a SET text = 'a'").await.unwrap();
    assert_eq!(found, Done { affected: 2, warnings: 0 }, "rows found, not only those that became others");
    let rows = connection.execute("SELECT id, 1/0 FROM a").await.unwrap();
    assert_eq!(rows.affected, 0);
    // Longer than a packet can be, as long as one can be with the command's byte, and one less.
    for length in [17_000_000, 16_777_168, 16_777_167] {
        let sql = format!("INSERT INTO a (id, text) VALUES ({length}, '{}')", "y".repeat(length));
        assert!(length != 16_777_168 || 1 + sql.len() == 0xFF_FFFF);
        assert_eq!(connection.execute(&sql).await.unwrap(), Done { affected: 1, warnings: 0 });
        assert_eq!(database.shown(&format!("SELECT length(text) FROM a WHERE id = {length}")), [length.to_string()]);
    }
    assert_eq!(connection.execute("DELETE FROM a WHERE id < 3").await.unwrap().affected, 2);
    connection.close().await;
}

async fn a_server_that_takes_no_rows_is_known_by_its_error<P: Shared>() {
    let closed = super::started::<P>(&["--local-infile=OFF", "--skip-log-bin"]);
    closed.execute("CREATE DATABASE shop; CREATE TABLE shop.a (id int)").unwrap();
    let mut connection = super::log_in(closed.port()).await;
    connection.execute("USE shop").await.unwrap();
    let refused = connection.begin_load(INTO_A).await.err().unwrap();
    assert!(refused.is_load_refused(), "{refused}, {:?}", refused.code());
    assert_eq!(connection.execute("DO 1").await.unwrap(), Done { affected: 0, warnings: 0 });
    connection.close().await;
}

/// Answers a login and one statement, as a server that asks for a file of its choice.
async fn ask_for(file: &str, mut client: TcpStream) -> Vec<u8> {
    let mut greeting = b"\x0a8.0.99\0\x07\0\0\0abcdefgh\0".to_vec();
    greeting.extend([0xFF, 0xF7, 45, 2, 0, 0xFF, 0xDF, 21]);
    greeting.extend([0; 10]);
    greeting.extend(b"ijklmnopqrst\0mysql_native_password\0");
    send(&mut client, 0, &greeting).await;
    receive(&mut client).await;
    send(&mut client, 2, &[0, 0, 0, 2, 0, 0, 0]).await;
    receive(&mut client).await;
    send(&mut client, 1, &[&[0xFB], file.as_bytes()].concat()).await;
    let answer = receive(&mut client).await;
    send(&mut client, 3, &[0, 0, 0, 2, 0, 0, 0]).await;
    answer
}

async fn send(client: &mut TcpStream, number: u8, payload: &[u8]) {
    let header = [u8::try_from(payload.len()).unwrap(), 0, 0, number];
    client.write_all(&[&header, payload].concat()).await.unwrap();
}

async fn receive(client: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    client.read_exact(&mut header).await.unwrap();
    let mut payload = vec![0; usize::from(header[0]) + 256 * usize::from(header[1])];
    client.read_exact(&mut payload).await.unwrap();
    payload
}

#[tokio::test]
async fn a_server_that_asks_for_a_file_gets_nothing() {
    for sql in [INTO_A, "SELECT 1"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { ask_for("/etc/passwd", listener.accept().await.unwrap().0).await });
        let mut connection = super::log_in(port).await;
        let refused = connection.begin_load(sql).await.err().unwrap();
        assert!(matches!(refused, WireError::Protocol(_)), "{refused}");
        assert_eq!(server.await.unwrap(), b"");
        assert!(matches!(connection.execute("SELECT 1").await, Err(WireError::Unfinished)));
    }
}

/// The server may not even ask who does not write.
#[tokio::test]
async fn only_a_login_that_writes_offers_files() {
    for (writes, offered) in [(true, 0x82), (false, 0)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut client = listener.accept().await.unwrap().0;
            let mut greeting = b"\x0a8.0.99\0\x07\0\0\0abcdefgh\0".to_vec();
            greeting.extend([0xFF, 0xF7, 45, 2, 0, 0xFF, 0xDF, 21]);
            greeting.extend([0; 10]);
            greeting.extend(b"ijklmnopqrst\0mysql_native_password\0");
            send(&mut client, 0, &greeting).await;
            receive(&mut client).await
        });
        drop(Connection::open(&Login { writes, ..super::login(port) }).await);
        assert_eq!(server.await.unwrap()[0] & 0x82, offered);
    }
}

super::on_both!(
    rows_are_loaded_in_pieces,
    a_load_without_an_end_leaves_no_row_and_no_connection,
    statements_say_what_they_did,
    a_server_that_takes_no_rows_is_known_by_its_error,
);
