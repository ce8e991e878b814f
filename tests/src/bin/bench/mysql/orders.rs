//! The table that is loaded: rows of some 150 bytes with numbers, texts, an amount and a moment.

use anyhow::Result;
use tokio_postgres::Client;

use super::{Instance, System};

/// Database at the source, schema in PostgreSQL.
pub(super) const SCHEMA: &str = "bench_load";
pub(super) const TABLE: &str = "orders";

/// The same rows as both systems write them: their number, and a sum over parts of their hashes.
const MYSQL_DIGEST: &str = "SELECT concat(count(*), ' ', coalesce(sum(CAST(conv(left(sha2(concat_ws('|', id, customer, status, amount, \
     placed, note), 256), 8), 16, 10) AS unsigned)), 0)) FROM bench_load.orders";
const POSTGRES_DIGEST: &str = "select count(*) || ' ' || coalesce(sum(('x' || left(encode(sha256(convert_to(concat_ws('|', id, customer, status, \
     amount, to_char(placed, 'YYYY-MM-DD HH24:MI:SS.US'), note), 'UTF8')), 'hex'), 8))::bit(32)::bigint), 0) \
     from bench_load.orders";

/// The table as its maker has it at MySQL and MariaDB.
pub(super) const COLUMNS: &str = "(id bigint PRIMARY KEY, customer int NOT NULL, status varchar(12) NOT NULL, \
     amount decimal(12,2) NOT NULL, placed datetime(6) NOT NULL, note varchar(120))";

/// Makes the table with so many million rows. The log has nothing of it, for a load does not read that.
pub(super) fn fill<P: System>(source: &Instance<P>, millions: u32) -> Result<()> {
    let digits =
        "CREATE TABLE digits (n int PRIMARY KEY); INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);";
    let number = "1 + f.n * 100000 + e.n * 10000 + d.n * 1000 + c.n * 100 + b.n * 10 + a.n";
    let crossed = "digits f JOIN digits e JOIN digits d JOIN digits c JOIN digits b JOIN digits a";
    let mut sql = format!(
        "SET sql_log_bin = 0; CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4; USE {SCHEMA}; {digits} \
         CREATE TABLE {TABLE} {COLUMNS};"
    );
    for million in 0..millions {
        let insert = format!(
            "INSERT INTO {TABLE} SELECT n, n % 99991, elt(1 + n % 3, 'open', 'paid', 'delivered'), n % 1000003 / 100, \
             TIMESTAMP '2024-01-01 00:00:00' + INTERVAL n * 7919 MICROSECOND, \
             IF(n % 50 = 0, NULL, concat('order ', n, ' ', repeat('an ordinary note ', 4), n % 977)) \
             FROM (SELECT {million} * 1000000 + {number} AS n FROM {crossed}) AS numbers ORDER BY n;"
        );
        sql.push_str(&insert);
    }
    source.execute(&format!("{sql} DROP TABLE digits; ANALYZE TABLE {TABLE};"))
}

pub(super) fn digest<P: System>(server: &Instance<P>) -> Result<String> {
    server.value(MYSQL_DIGEST)
}

pub(super) async fn digest_of_copy(target: &Client) -> Result<String> {
    Ok(target.query_one(POSTGRES_DIGEST, &[]).await?.get(0))
}
