//! Raising sequences and identities to the source's counters.

use tokio_postgres::Client;
use wavemark_connector::source::Counter;
use wavemark_domain::{Problem, TablePlan};

use super::fault::problem;
use super::fence::Grant;
use super::finish::sequence_name;
use super::table::quote_table;
use crate::wire::quote_identifier;

/// Sets each counter that is behind. A sequence is not transactional, so it is only ever moved forward.
pub(crate) async fn raise(
    client: &mut Client,
    grant: &Grant,
    plan: &[TablePlan],
    counters: &[Counter],
) -> Result<(), Problem> {
    const SQL: &str = "SELECT pg_catalog.setval(s.seqrelid::regclass, $2::int8) FROM pg_catalog.pg_sequence s \
        WHERE s.seqrelid = $1::oid AND $2::int8 BETWEEN s.seqmin AND s.seqmax \
        AND CASE WHEN s.seqincrement > 0 THEN coalesce(pg_catalog.pg_sequence_last_value(s.seqrelid) < $2, true) \
            ELSE coalesce(pg_catalog.pg_sequence_last_value(s.seqrelid) > $2, true) END";
    let failed = |error: tokio_postgres::Error| problem(&error, "raise sequences in the target");
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&grant.share()).await.map_err(failed)?;
    for counter in counters {
        let (Some(table), Some(value)) = (plan.iter().find(|table| table.id == counter.table), counter.last_value)
        else {
            continue;
        };
        if let Some(sequence) = sequence(&transaction, table, &counter.column).await.map_err(failed)? {
            transaction.execute(SQL, &[&sequence, &value]).await.map_err(failed)?;
        }
    }
    transaction.commit().await.map_err(failed)
}

/// The sequence behind a column at the target: its own, or the one that its default was made with.
async fn sequence(
    transaction: &tokio_postgres::Transaction<'_>,
    table: &TablePlan,
    column: &str,
) -> Result<Option<u32>, tokio_postgres::Error> {
    let Some(planned) = table.columns.iter().find(|one| table.in_target().columns[one.source].name == column) else {
        return Ok(None);
    };
    // The function takes the table as an identifier and the column as a plain text.
    let own: Option<u32> = transaction
        .query_one(
            "SELECT pg_catalog.to_regclass(pg_catalog.pg_get_serial_sequence($1, $2))::oid",
            &[&quote_table(&table.target), &planned.target_name],
        )
        .await?
        .get(0);
    if own.is_some() {
        return Ok(own);
    }
    let native = crate::native::TableNative::of(table.in_target()).unwrap_or_default();
    let Some(sequence) = native.sequences.iter().find(|sequence| sequence.column == column) else {
        return Ok(None);
    };
    let name = sequence_name(table, sequence);
    let name = format!("{}.{}", quote_identifier(&name.schema), quote_identifier(&name.table));
    transaction.query_one("SELECT pg_catalog.to_regclass($1)::oid", &[&name]).await.map(|row| row.get(0))
}
