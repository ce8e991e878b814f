//! Records `fixtures/pgoutput-15.bin`, the bytes behind the decoder's test `recorded`; see the note beside it.

use std::fmt::Write as _;

use crate::support::Cluster;
use crate::support::stream::{connect, start, take};
use wavemark_connector_postgres::pgoutput::Message;
use wavemark_connector_postgres::wire::{SlotLife, SlotSnapshot};

const SETUP: [&str; 6] = [
    "create type mood as enum ('ok', 'bad')",
    "create table item (id int primary key, name varchar(20), price numeric, mood mood, big text)",
    "alter table item alter big set storage external",
    "create table whole (a int, b text)",
    "alter table whole replica identity full",
    "create publication pub for table item, whole",
];

const CHANGES: [&str; 4] = [
    "begin;
     insert into item values (1, 'é', 12.50, 'ok', repeat('x', 2100)), (2, null, 'NaN', 'bad', null);
     update item set price = -1 where id = 1;
     update item set id = 3 where id = 2;
     delete from item where id = 3;
     select pg_logical_emit_message(true, 'inside', 'in');
     commit",
    "select pg_logical_emit_message(false, 'outside', decode('00ff', 'hex'))",
    "begin; insert into whole values (1, 'a'); update whole set b = null; delete from whole; commit",
    "truncate item, whole restart identity cascade",
];

#[tokio::test]
#[ignore = "writes a fixture; run by hand"]
async fn the_fixture_is_recorded() {
    let cluster = Cluster::start(&[]);
    for sql in SETUP {
        cluster.sql(sql);
    }
    let mut connection = connect(&cluster).await;
    connection.create_slot("slot", SlotLife::Permanent, SlotSnapshot::Nothing).await.unwrap();
    for sql in CHANGES {
        cluster.sql(sql);
    }
    let mut stream = start(connection).await;
    let mut commits = 0;
    let messages = take(&mut stream, |message| {
        commits += usize::from(matches!(message, Message::Commit(_)));
        commits == 3
    })
    .await;
    let mut bytes = Vec::new();
    let mut listing = String::new();
    for message in &messages {
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        writeln!(listing, "{}", message[..message.len().min(150)].escape_ascii()).unwrap();
    }
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pgoutput-15.bin"), bytes).unwrap();
    let oids = "select string_agg(n || '=' || o, ' ') from (select relname n, oid o from pg_class where relname in
        ('item', 'whole') union all select typname, oid from pg_type where typname = 'mood') s";
    println!("{}\n{}\n{listing}", cluster.sql("select version()"), cluster.sql(oids));
}
