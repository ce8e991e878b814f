//! The metadata's version in a real PostgreSQL: an older and a newer one are told apart, and only the older is moved on.

#![expect(clippy::unwrap_used, reason = "a failure in a helper is the failure of its test")]

mod support;

use std::cmp::Ordering;

use wavemark_store::{Error, migrate, version};

#[tokio::test]
async fn what_a_newer_program_brought_forward_is_told_as_that_and_left_alone() {
    let pool = wavemark_store::pool(&support::database().await, 2).unwrap();
    assert_eq!(version(&pool).await.unwrap(), Ordering::Less, "nothing is there yet");
    migrate(&pool).await.unwrap();
    assert_eq!(version(&pool).await.unwrap(), Ordering::Equal);
    migrate(&pool).await.unwrap();

    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (99990101000000, 'of tomorrow', true, '', 0)";
    sqlx::raw_sql(newer).execute(&pool).await.unwrap();
    assert_eq!(version(&pool).await.unwrap(), Ordering::Greater);
    assert!(matches!(migrate(&pool).await, Err(Error::Newer)));

    let before = "delete from _sqlx_migrations where version >= (
                      select max(version) from _sqlx_migrations where version < 99990101000000)";
    sqlx::raw_sql(before).execute(&pool).await.unwrap();
    assert_eq!(version(&pool).await.unwrap(), Ordering::Less);
}
