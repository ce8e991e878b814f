//! Slots and streams on a real server.

use std::time::{Duration, Instant};

use crate::support::Cluster;
use crate::support::certificates::Certificates;
use crate::support::stream::{connect, options, settings, start, take};
use tokio_postgres::NoTls;
use wavemark_connector_postgres::pgoutput::{Cell, Message, OldRow, decode};
use wavemark_connector_postgres::tls::{TlsMode, TlsSettings};
use wavemark_connector_postgres::wire::{Connection, Frame, Lsn, SlotLife, SlotSnapshot, WireError};

/// A cluster with a published table and the slot `slot`.
async fn prepared(parameters: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start(parameters);
    with_slot(&cluster).await;
    cluster
}

async fn with_slot(cluster: &Cluster) {
    cluster.sql("create table t (id int primary key, note text)");
    cluster.sql("create publication pub for table t");
    let mut connection = connect(cluster).await;
    connection.create_slot("slot", SlotLife::Permanent, SlotSnapshot::Nothing).await.unwrap();
    connection.close().await.unwrap();
}

fn cells<'a>(message: &Message<'a>) -> Vec<Cell<'a>> {
    match message {
        Message::Insert(_, insert) => insert.new.cells().collect(),
        Message::Update(_, update) => update.new.cells().collect(),
        other => panic!("{other:?} has no new row"),
    }
}

#[tokio::test]
async fn a_slot_exports_the_snapshot_of_its_consistent_point() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key); ");
    cluster.sql("insert into t values (1), (2)");
    let mut connection = connect(&cluster).await;
    assert_eq!(
        connection.server_major().to_string(),
        cluster.sql("select current_setting('server_version_num')::int / 10000")
    );
    let identity = connection.identify_system().await.unwrap();
    assert_eq!(identity.system_id.to_string(), cluster.sql("select system_identifier from pg_control_system()"));
    assert_eq!((identity.timeline, identity.database.as_deref()), (1, Some("postgres")));

    let slot = connection.create_slot("slot", SlotLife::Permanent, SlotSnapshot::Export).await.unwrap();
    cluster.sql("insert into t values (3)");
    assert!(slot.consistent_point > Lsn(0));
    let (client, driver) =
        tokio_postgres::connect(&format!("host=127.0.0.1 port={} user=postgres", cluster.port), NoTls).await.unwrap();
    tokio::spawn(driver);
    let import =
        format!("begin isolation level repeatable read; set transaction snapshot '{}'", slot.snapshot.unwrap());
    client.batch_execute(&import).await.unwrap();
    let row = client.query_one("select count(*) from t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 2);
    drop(client);

    // An error leaves the connection usable.
    let taken = connection.create_slot("slot", SlotLife::Permanent, SlotSnapshot::Nothing).await.unwrap_err();
    assert_eq!(taken.code(), Some("42710"));
    let history = connection.timeline_history(1).await.unwrap_err();
    assert_eq!(history.code(), Some("58P01"));
    connection.drop_slot("slot", true).await.unwrap();
    assert_eq!(connection.drop_slot("slot", false).await.unwrap_err().code(), Some("42704"));
    let nothing = connection.create_slot("brief", SlotLife::Temporary, SlotSnapshot::Nothing).await.unwrap();
    assert_eq!(nothing.snapshot, None);
    let answers = connection.query("select 1, null; select 'x' as name").await.unwrap();
    assert_eq!((answers[0].rows[0].text(0), answers[0].rows[0].text(1)), (Some("1"), None));
    assert_eq!((answers[1].columns.clone(), answers[1].rows[0].text(0)), (vec!["name".to_owned()], Some("x")));
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_query_that_was_given_up_closes_the_connection_to_others() {
    let cluster = Cluster::start(&[]);
    let mut connection = connect(&cluster).await;
    let given_up = tokio::time::timeout(Duration::from_millis(100), connection.query("select pg_sleep(5)")).await;
    assert!(given_up.is_err());
    assert!(matches!(connection.query("select 1").await, Err(WireError::Unfinished)));
}

async fn every_kind_of_change(cluster: &Cluster, connection: Connection) {
    let large = 3_000_000;
    cluster.sql("insert into t values (1, 'one')");
    cluster.sql("begin; update t set note = null; update t set id = 2; delete from t; commit");
    cluster.sql(&format!("insert into t values (7, repeat('x', {large}))"));
    cluster.sql("truncate t restart identity");
    let mut stream = start(connection).await;
    let mut commits = 0;
    let taken = take(&mut stream, |message| {
        commits += usize::from(matches!(message, Message::Commit(_)));
        commits == 4
    })
    .await;
    let messages: Vec<_> = taken.iter().map(|data| decode(data, false).unwrap()).collect();
    let tags: String = taken.iter().map(|data| char::from(data[0])).collect();
    // The truncate gave the table a new file, after which the server describes it again.
    assert_eq!(tags, "BRICBUUDCBICBRTC");
    let id = |n: &'static [u8]| Cell::Binary(n);
    assert_eq!(cells(&messages[2]), [id(b"\0\0\0\x01"), Cell::Binary(b"one")]);
    assert_eq!(cells(&messages[5]), [id(b"\0\0\0\x01"), Cell::Null]);
    let Message::Update(None, key_change) = messages[6] else { panic!("{:?}", messages[6]) };
    let Some(OldRow::Key(old)) = key_change.old else { panic!("{key_change:?}") };
    assert_eq!(old.cells().collect::<Vec<_>>(), [id(b"\0\0\0\x01"), Cell::Null]);
    assert_eq!(cells(&messages[6]), [id(b"\0\0\0\x02"), Cell::Null]);
    let Message::Delete(None, delete) = messages[7] else { panic!("{:?}", messages[7]) };
    let OldRow::Key(old) = delete.old else { panic!("{delete:?}") };
    assert_eq!(old.cells().collect::<Vec<_>>(), [id(b"\0\0\0\x02"), Cell::Null]);
    assert_eq!(cells(&messages[10]), [id(b"\0\0\0\x07"), Cell::Binary(&vec![b'x'; large])]);
    let Message::Truncate(None, truncate) = messages[14] else { panic!("{:?}", messages[14]) };
    assert!(truncate.restart_identity && !truncate.cascade);
    assert_eq!(truncate.relations.iter().collect::<Vec<_>>(), [key_change.relation]);

    // What is reported as flushed is what the slot forgets; the end is agreed on, so the slot is free at once.
    let Message::Commit(last) = messages[15] else { panic!("{:?}", messages[15]) };
    let end = Lsn(last.end_lsn);
    stream.sender.standby_status(end, end, end, false).await.unwrap();
    stream.finish().await.unwrap();
    let slot = "select confirmed_flush_lsn || ' ' || active from pg_replication_slots";
    let expected = format!("{end} false");
    let deadline = Instant::now() + Duration::from_secs(10);
    while cluster.sql(slot) != expected {
        assert!(Instant::now() < deadline, "{} instead of {expected}", cluster.sql(slot));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_kind_of_change_arrives_in_binary() {
    let cluster = prepared(&[]).await;
    let mut small = settings(&cluster, &TlsSettings::default());
    small.read_buffer = 16 * 1024;
    every_kind_of_change(&cluster, Connection::connect(&small).await.unwrap()).await;
}

#[tokio::test]
async fn every_kind_of_change_arrives_over_tls() {
    let certificates = Certificates::make("sha256");
    let cluster = Cluster::prepared(&[("ssl", "on")], "", |data| certificates.install(data));
    with_slot(&cluster).await;
    let verified =
        TlsSettings { mode: TlsMode::VerifyFull, ca: Some(certificates.pem("ca.crt")), ..TlsSettings::default() };
    let connection = Connection::connect(&settings(&cluster, &verified)).await.unwrap();
    assert!(connection.is_encrypted());
    every_kind_of_change(&cluster, connection).await;
}

#[tokio::test]
async fn a_transaction_in_progress_is_streamed_with_its_rolled_back_savepoint() {
    let cluster = prepared(&[("logical_decoding_work_mem", "64kB")]).await;
    cluster.sql(
        "begin;
         insert into t select n, repeat('a', 100) from generate_series(1, 3000) n;
         savepoint s;
         insert into t select n, repeat('b', 100) from generate_series(10001, 13000) n;
         rollback to s;
         insert into t select n, repeat('c', 100) from generate_series(20001, 23000) n;
         commit",
    );
    let mut stream = start(connect(&cluster).await).await;
    let (mut top, mut aborted, mut kept) = (0, Vec::new(), std::collections::HashMap::<u32, usize>::new());
    let mut firsts = 0;
    take(&mut stream, |message| {
        match message {
            Message::StreamStart(chunk) => {
                firsts += usize::from(chunk.first);
                top = chunk.xid;
            }
            Message::Insert(Some(xid), insert) => {
                assert_eq!(insert.new.len(), 2);
                *kept.entry(*xid).or_default() += 1;
            }
            Message::StreamAbort(abort) => {
                assert_eq!(abort.xid, top);
                assert_ne!(abort.subxid, top);
                aborted.push(kept.remove(&abort.subxid));
            }
            Message::StreamCommit(commit) => assert_eq!(commit.xid, top),
            Message::Relation(Some(_), _) | Message::StreamStop => {}
            other => panic!("{other:?} has no place here"),
        }
        matches!(message, Message::StreamCommit(_))
    })
    .await;
    assert_eq!(firsts, 1);
    // The savepoint's rows came in chunks and were taken back; the rows before and after it stay.
    assert!(aborted.iter().flatten().sum::<usize>() > 0, "{aborted:?}");
    assert_eq!(kept.values().sum::<usize>(), 6000);
}

#[tokio::test]
async fn a_stream_that_is_not_read_lives_as_long_as_it_reports() {
    let cluster = prepared(&[("wal_sender_timeout", "1s")]).await;
    // More than the sockets hold, so that the server stands with a full pipe.
    cluster.sql("insert into t select n, repeat('x', 1000) from generate_series(1, 40000) n");
    let mut stream = start(connect(&cluster).await).await;
    for _ in 0..15 {
        stream.sender.standby_status(Lsn(0), Lsn(0), Lsn(0), false).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut rows = 0;
    take(&mut stream, |message| {
        rows += usize::from(matches!(message, Message::Insert(..)));
        matches!(message, Message::Commit(_) | Message::StreamCommit(_))
    })
    .await;
    assert_eq!(rows, 40_000);

    // A report that asks for an answer gets a keepalive.
    stream.sender.standby_status(Lsn(0), Lsn(0), Lsn(0), true).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match stream.reader.next_frame().unwrap() {
                Some(Frame::Keepalive { .. }) => return,
                Some(_) => {}
                None => drop(stream.reader.fill().await.unwrap()),
            }
        }
    })
    .await
    .expect("no keepalive came");

    // Without reports the server gives up: the test above could have failed.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let end = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Err(error) = stream.reader.fill().await {
                return error;
            }
            while stream.reader.next_frame().unwrap().is_some() {}
        }
    })
    .await
    .expect("the server kept a silent stream");
    assert!(matches!(end, WireError::Closed | WireError::Io(_)), "{end:?}");
}

#[tokio::test]
async fn a_stream_that_cannot_begin_says_why() {
    let cluster = prepared(&[]).await;
    let error = |result: Result<_, WireError>| match result {
        Ok(_) => panic!("the stream should not have begun"),
        Err(error) => error,
    };
    let missing = connect(&cluster).await.start_replication("none", Lsn(0), &options()).await;
    assert_eq!(error(missing).code(), Some("42704"));
    let _busy = start(connect(&cluster).await).await;
    let second = connect(&cluster).await.start_replication("slot", Lsn(0), &options()).await;
    assert_eq!(error(second).code(), Some("55006"));
}

#[tokio::test]
async fn an_error_of_the_server_ends_the_stream_with_its_code() {
    let cluster = prepared(&[]).await;
    let mut stream = start(connect(&cluster).await).await;
    cluster.sql("select pg_terminate_backend(active_pid) from pg_replication_slots");
    let error = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match stream.reader.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) => drop(stream.reader.fill().await.unwrap()),
                Err(error) => return error,
            }
        }
    })
    .await
    .expect("no error came");
    assert_eq!(error.code(), Some("57P01"), "{error}");
    assert!(matches!(stream.reader.fill().await, Err(WireError::Closed)));
}

#[tokio::test]
async fn a_server_that_shuts_down_ends_the_stream_once_all_is_reported() {
    let cluster = prepared(&[]).await;
    cluster.sql("insert into t values (1, 'one')");
    let mut stream = start(connect(&cluster).await).await;
    take(&mut stream, |message| matches!(message, Message::Commit(_))).await;
    let stop = std::thread::spawn(move || {
        cluster.stop("fast");
        cluster
    });
    let ended = async {
        loop {
            match stream.reader.next_frame() {
                Ok(Some(Frame::End)) => return,
                // The server waits for its readers to have all of its log.
                Ok(Some(Frame::Keepalive { end, .. })) => {
                    stream.sender.standby_status(end, end, end, false).await.unwrap();
                }
                Ok(Some(Frame::XLogData { .. } | Frame::Beginning { .. })) => {}
                Ok(None) => drop(stream.reader.fill().await.unwrap()),
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the stream did not end");
    assert!(matches!(stream.reader.fill().await, Err(WireError::Closed)));
    stop.join().unwrap();
}
