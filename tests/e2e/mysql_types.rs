//! Types of MySQL and MariaDB that travel as bytes or texts: shapes, vectors, addresses. Wrapped by `mariadb` and `mysql`.

use serde_json::json;

use crate::mysql_family::{Dialect, becomes, source, task};
use crate::mysql_target::{becomes_equal, from_its_kind, no_table_is_parked, target};
use crate::world::World;

/// Tables of types that only one of the systems has, with statements that write them: what is there at first, and what comes.
pub(crate) struct Own {
    pub(crate) table: &'static str,
    pub(crate) made: &'static str,
    pub(crate) changes: &'static str,
    /// The rows as the source writes them, and PostgreSQL.
    pub(crate) written: (&'static str, &'static str),
}

pub(crate) const VECTORS: Own = Own {
    table: "vectors",
    made: "CREATE TABLE vectors (id int PRIMARY KEY, v vector(3), w vector); \
        INSERT INTO vectors VALUES (1, STRING_TO_VECTOR('[1, -2.5, 3e-5]'), STRING_TO_VECTOR('[0]')), (2, NULL, NULL);",
    changes: "INSERT INTO vectors SELECT id + 10, v, w FROM vectors; \
        UPDATE vectors SET v = STRING_TO_VECTOR('[0, 0, 0]'), w = STRING_TO_VECTOR(CONCAT('[1.5', REPEAT(',2', 2000), ']')) WHERE id = 2; \
        UPDATE vectors SET v = NULL WHERE id = 1; UPDATE vectors SET v = STRING_TO_VECTOR('[1e38, -0, 0.1]') WHERE id = 12; \
        ALTER TABLE vectors ADD x vector(2); UPDATE vectors SET x = STRING_TO_VECTOR('[1, 2]') WHERE id = 11;",
    written: (
        "SELECT concat_ws('|', id, HEX(v), HEX(w)) FROM shop.vectors ORDER BY id",
        "SELECT concat_ws('|', id, upper(encode(v, 'hex')), upper(encode(w, 'hex'))) FROM shop.vectors ORDER BY id",
    ),
};

/// Addresses with zeros at every end, as values and as keys.
pub(crate) const ADDRESSES: Own = Own {
    table: "hosts",
    made: "CREATE TABLE hosts (host inet6 PRIMARY KEY, four inet4, u uuid); INSERT INTO hosts VALUES \
        ('::', '0.0.0.0', '00000000-0000-0000-0000-000000000000'), ('::1', '255.255.255.255', 'ffffffff-ffff-ffff-ffff-ffffffffffff'), \
        ('fe80::', '10.0.0.0', '123e4567-e89b-12d3-a456-426614174000'), ('::10.0.0.1', NULL, NULL), ('::ffff:10.0.0.0', '1.2.3.4', \
        '10000000-0000-0000-0000-000000000000'), ('2001:db8::1:2:3:4:5', '0.0.0.1', NULL);",
    changes: "INSERT INTO hosts SELECT CAST(UNHEX(CONCAT('20', SUBSTR(HEX(CAST(host AS binary(16))), 3))) AS inet6), four, u FROM hosts \
        WHERE host <> '2001:db8::1:2:3:4:5'; UPDATE hosts SET four = '9.0.0.0', u = '00112233-4455-6677-8899-aabbccddee00' WHERE four IS NULL; \
        UPDATE hosts SET host = '1:0:2:0:0:3:0:0', four = NULL WHERE host = '::1'; DELETE FROM hosts WHERE host = '::10.0.0.1'; \
        ALTER TABLE hosts ADD more inet6; UPDATE hosts SET more = host; ALTER TABLE hosts DROP more;",
    written: (
        "SELECT concat_ws('|', host, four, u) FROM shop.hosts ORDER BY CAST(host AS char) COLLATE utf8mb4_bin",
        "SELECT concat_ws('|', host, four, u) FROM shop.hosts ORDER BY host COLLATE \"C\"",
    ),
};

/// Shapes with and without a reference system, empty ones, and with a hole.
const SHAPES: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
    CREATE TABLE shapes (id int PRIMARY KEY, g geometry, p point NOT NULL, l linestring, c geometrycollection, m multipolygon); \
    INSERT INTO shapes VALUES \
    (1, ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POINT(-1.5 1e300)'), ST_GeomFromText('LINESTRING(0 0, 1 1, 2 0.1)'), \
     ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))'), \
     ST_GeomFromText('MULTIPOLYGON(((0 0, 9 0, 9 9, 0 0), (3 1, 4 1, 4 2, 3 1)), ((20 20, 21 20, 21 21, 20 20)))')), \
    (2, ST_GeomFromText('POINT(10 20)', 4326), ST_GeomFromText('POINT(30 40)', 4326), NULL, \
     ST_GeomFromText('GEOMETRYCOLLECTION EMPTY'), NULL), \
    (3, NULL, ST_GeomFromText('POINT(0 0)'), NULL, NULL, NULL); \
    CREATE TABLE loose (a int, p point); INSERT INTO loose VALUES (1, ST_GeomFromText('POINT(1 2)')), (1, NULL), (2, ST_GeomFromText('POINT(1 2)'));";

const SHAPES_CHANGE: &str = "USE shop; INSERT INTO shapes SELECT id + 10, g, p, l, c, m FROM shapes; \
    UPDATE shapes SET g = ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))'), l = NULL WHERE id = 1; \
    UPDATE shapes SET g = p, p = ST_GeomFromText('POINT(7 7)', 4326), c = NULL WHERE id = 12; \
    UPDATE shapes SET m = (SELECT m FROM (SELECT m FROM shapes WHERE id = 1) AS one) WHERE id = 3; DELETE FROM shapes WHERE id = 2; \
    UPDATE loose SET p = ST_GeomFromText('POINT(3 4)') WHERE a = 2; DELETE FROM loose WHERE p IS NULL; \
    ALTER TABLE shapes ADD more polygon; UPDATE shapes SET more = ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))') WHERE id = 1;";

const SHAPES_WRITTEN: [(&str, &str); 2] = [
    (
        "SELECT concat_ws('|', id, HEX(g), HEX(p), HEX(l), HEX(c), HEX(m)) FROM shop.shapes ORDER BY id",
        "SELECT concat_ws('|', id, upper(encode(g, 'hex')), upper(encode(p, 'hex')), upper(encode(l, 'hex')), \
         upper(encode(c, 'hex')), upper(encode(m, 'hex'))) FROM shop.shapes ORDER BY id",
    ),
    (
        "SELECT concat_ws('|', a, HEX(p)) FROM shop.loose ORDER BY a",
        "SELECT concat_ws('|', a, upper(encode(p, 'hex'))) FROM shop.loose ORDER BY a",
    ),
];

pub(crate) async fn shapes_and_what_one_system_has_come_as_they_are<P: Dialect>(own: &Own) {
    let source = source::<P>(&[], &format!("{SHAPES} {}", own.made));
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    let pairs = [SHAPES_WRITTEN[0], SHAPES_WRITTEN[1], own.written];
    for (from, to) in pairs {
        becomes(&world, own.table, to, &source.rows(from).unwrap()).await;
    }
    source.execute(SHAPES_CHANGE).unwrap();
    source.execute(&format!("USE shop; {}", own.changes)).unwrap();
    for (from, to) in pairs {
        becomes(&world, own.table, to, &source.rows(from).unwrap()).await;
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}

/// `others` are whether the target has the types that only one of the systems has.
pub(crate) async fn shapes_and_what_one_system_has_go_to_their_family<P: Dialect, Q: Dialect>(own: &Own, others: bool) {
    let from = source::<P>(&[], &format!("{SHAPES} {}", own.made));
    let to = target::<Q>(&["--local-infile=ON"]);
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    let shapes = "SELECT concat_ws('|', id, HEX(g), ST_SRID(g), ST_AsText(l), HEX(p), HEX(l), HEX(c), HEX(m)) FROM shop.shapes ORDER BY id";
    let rows = [shapes, SHAPES_WRITTEN[1].0, own.written.0];
    becomes_equal(&from, &to, &rows).await;
    from.execute(SHAPES_CHANGE).unwrap();
    from.execute(&format!("USE shop; {}", own.changes)).unwrap();
    becomes_equal(&from, &to, &rows).await;
    becomes_equal(&from, &to, &["SELECT id, HEX(more) FROM shop.shapes ORDER BY id"]).await;
    no_table_is_parked(&world, task).await;
    if others {
        let declared = "SELECT table_name, column_name, column_type, is_nullable FROM information_schema.columns \
            WHERE table_schema = 'shop' ORDER BY table_name, ordinal_position";
        becomes_equal(&from, &to, &[declared]).await;
    }
}
