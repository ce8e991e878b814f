//! `COPY … TO STDOUT` over the connector's own client.

use wavemark_connector_postgres::tls::TlsSettings;
use wavemark_connector_postgres::wire::{ConnectSettings, Connection, Piece, WireError};

use crate::support::Cluster;
use crate::support::stream::settings;

const LARGE: usize = 10_000;

async fn connect(cluster: &Cluster) -> Connection {
    let ordinary = ConnectSettings { replication: false, ..settings(cluster, &TlsSettings::default()) };
    Connection::connect(&ordinary).await.unwrap()
}

/// All pieces of the COPY of a query as text, and which of them were taken out of the buffer as they are.
async fn copied(connection: &mut Connection, query: &str, most: usize) -> Result<(Vec<String>, Vec<usize>), WireError> {
    connection.copy_out(&format!("COPY ({query}) TO STDOUT"), most).await?;
    let (mut pieces, mut large) = (Vec::new(), Vec::new());
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().trim_end().to_owned();
    loop {
        match connection.piece(LARGE)? {
            Piece::Data(piece) => pieces.push(text(piece)),
            Piece::Large(piece) => {
                large.push(pieces.len());
                pieces.push(text(&piece));
            }
            Piece::TooLarge(size) => return Ok((pieces, vec![size])),
            Piece::Nothing => connection.fill().await?,
            Piece::End => return Ok((pieces, large)),
        }
    }
}

#[tokio::test]
async fn one_copy_after_the_other_gives_its_rows() {
    let cluster = Cluster::start(&[]);
    let mut connection = connect(&cluster).await;
    let many = "SELECT n || repeat('x', n % 300) FROM generate_series(1, 20000) n";
    let expected: Vec<String> = (1..=20_000).map(|n| format!("{n}{}", "x".repeat(n % 300))).collect();
    assert_eq!(copied(&mut connection, many, usize::MAX).await.unwrap(), (expected, vec![]));
    let wide = "VALUES ('before'), (repeat('y', 3000000)), ('after')";
    let expected = vec!["before".to_owned(), "y".repeat(3_000_000), "after".to_owned()];
    assert_eq!(copied(&mut connection, wide, usize::MAX).await.unwrap(), (expected, vec![1]));
    assert_eq!(copied(&mut connection, "SELECT 1 WHERE false", usize::MAX).await.unwrap(), (vec![], vec![]));
    let answers = connection.query("SELECT current_setting('client_encoding')").await.unwrap();
    assert_eq!(answers[0].rows[0].text(0), Some("UTF8"));
}

#[tokio::test]
async fn a_row_that_is_larger_than_allowed_is_told_with_its_size() {
    let cluster = Cluster::start(&[]);
    let mut connection = connect(&cluster).await;
    let rows = "VALUES (repeat('z', 99999)), (repeat('z', 100000)), ('after')";
    // The line's end counts.
    let (before, size) = copied(&mut connection, rows, 100_000).await.unwrap();
    assert_eq!((before, size), (vec!["z".repeat(99_999)], vec![100_001]));
}

#[tokio::test]
async fn an_error_of_the_server_comes_out_and_a_connection_in_the_middle_takes_no_command() {
    let cluster = Cluster::start(&[]);
    let mut connection = connect(&cluster).await;
    let error = copied(&mut connection, "SELECT 1 / (5000 - n) FROM generate_series(1, 6000) n", usize::MAX).await;
    assert_eq!(error.unwrap_err().code(), Some("22012"));
    assert!(matches!(connection.query("SELECT 1").await, Err(WireError::Unfinished)));
    let mut connection = connect(&cluster).await;
    let error = copied(&mut connection, "SELECT * FROM nowhere", usize::MAX).await;
    assert_eq!(error.unwrap_err().code(), Some("42P01"));
    let mut connection = connect(&cluster).await;
    let error = copied(&mut connection, "SELECT pg_terminate_backend(pg_backend_pid())", usize::MAX).await;
    assert_eq!(error.unwrap_err().code(), Some("57P01"));
}
