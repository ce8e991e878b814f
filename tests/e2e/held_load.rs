//! A load that does not go on before the test lets it: its chunks wait in the target.

use tokio_postgres::Client;
use uuid::Uuid;

use crate::world::{World, until};

/// The lock for which the chunks wait.
pub(crate) struct HeldLoad(Client);

impl HeldLoad {
    /// Asks for a reload of a table that is emptied for it, and waits until its first chunk waits.
    pub(crate) async fn begin(world: &World, task: Uuid, (schema, table): (&str, &str)) -> Self {
        let trigger = format!(
            "create function wait() returns trigger language plpgsql as \
             $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$;
             create trigger wait before insert on {schema}.{table} for each statement execute function wait();
             alter table {schema}.{table} enable always trigger wait"
        );
        world.target(&trigger).await;
        let holder = world.pair.target_client().await.unwrap();
        holder.batch_execute("select pg_advisory_lock(42)").await.unwrap();
        world.installation.api.ask_of_tables(task, "reload", &[(schema, table)]).await.unwrap();
        let waiting = "select count(*)::text from pg_locks where locktype = 'advisory' and not granted";
        until(|| async { world.target_value(waiting).await.is_some_and(|count| count != "0") }).await;
        Self(holder)
    }

    /// Lets it go on.
    pub(crate) async fn release(self) {
        self.0.batch_execute("select pg_advisory_unlock(42)").await.unwrap();
    }
}
