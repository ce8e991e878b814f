//! Connecting to a test cluster and taking messages from a stream.

use std::time::Duration;

use wavemark_connector_postgres::pgoutput::{Message, decode};
use wavemark_connector_postgres::tls::{Tls, TlsSettings};
use wavemark_connector_postgres::wire::{
    ConnectSettings, Connection, Frame, Lsn, PgoutputOptions, ReplicationStream, Streaming,
};

use crate::support::Cluster;

/// How long a test waits for a message that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The superuser on `localhost`.
pub(crate) fn settings(cluster: &Cluster, tls: &TlsSettings) -> ConnectSettings {
    ConnectSettings::new("localhost", cluster.port, "postgres", "postgres", Tls::new(tls).unwrap())
}

/// A replication connection without TLS.
pub(crate) async fn connect(cluster: &Cluster) -> Connection {
    Connection::connect(&settings(cluster, &TlsSettings::default())).await.unwrap()
}

/// All that pgoutput can send of the publication `pub`, in binary.
pub(crate) fn options() -> PgoutputOptions {
    PgoutputOptions { publications: vec!["pub".to_owned()], binary: true, streaming: Streaming::On, messages: true }
}

/// Streams the slot `slot` from where it stands.
pub(crate) async fn start(connection: Connection) -> ReplicationStream {
    connection.start_replication("slot", Lsn(0), &options()).await.unwrap()
}

/// Takes messages until `last` says that one was the last, answering keepalives.
pub(crate) async fn take(stream: &mut ReplicationStream, mut last: impl FnMut(&Message<'_>) -> bool) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    let mut in_stream = false;
    loop {
        while let Some(frame) = stream.reader.next_frame().unwrap() {
            match frame {
                Frame::XLogData { data, .. } => {
                    let message = decode(data, in_stream).unwrap();
                    match message {
                        Message::StreamStart(_) => in_stream = true,
                        Message::StreamStop => in_stream = false,
                        _ => {}
                    }
                    let done = last(&message);
                    taken.push(data.to_vec());
                    if done {
                        return taken;
                    }
                }
                Frame::Keepalive { reply_requested: true, .. } => {
                    stream.sender.standby_status(Lsn(0), Lsn(0), Lsn(0), false).await.unwrap();
                }
                Frame::Keepalive { .. } => {}
                Frame::End | Frame::Beginning { .. } => panic!("the stream ended before its last message"),
            }
        }
        tokio::time::timeout(PATIENCE, stream.reader.fill()).await.expect("no message in time").unwrap();
    }
}
