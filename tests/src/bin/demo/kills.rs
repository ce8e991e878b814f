//! The worker is killed by SIGKILL, once in the load and once while following.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio_postgres::Client;

use super::Demo;

/// What PROTOCOL and issue promise: another worker goes on within this time.
const TAKEOVER: Duration = Duration::from_secs(15);

/// Chunks of each table and how many of them are done, as the target has them.
type Chunks = BTreeMap<String, (i64, i64)>;

/// Kills the worker when about a third of the chunks are done, then waits until every table is live, and shows from
/// the counters that no chunk which was done before is read again.
pub(super) async fn in_the_load(demo: &mut Demo) -> Result<()> {
    let target = demo.pair.target_client().await?;
    let end = Instant::now() + Duration::from_mins(1);
    let before = loop {
        let chunks = marks(&target).await;
        let (all, done) = chunks.values().fold((0, 0), |(all, done), (a, d)| (all + a, done + d));
        if done * 3 >= all && done > 0 {
            break kill(demo, &target).await?;
        }
        anyhow::ensure!(Instant::now() < end, "the load does not begin to make progress: {chunks:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let (all, done) = before.values().fold((0, 0), |(all, done), (a, d)| (all + a, done + d));
    anyhow::ensure!(done < all, "the load was over before the worker was killed: {done} of {all} chunks");
    demo.screen.say(&format!("Killed the worker by SIGKILL in the load: {done} of {all} chunks were done."));
    demo.until_live().await?;
    let tables = demo.installation.api.tables(demo.task).await?;
    demo.screen.say("  table                  chunks  done before  read again by the next worker");
    for table in &tables {
        let name = &table.source.table;
        let &(chunks, done) = before.get(name).unwrap_or(&(i64::from(table.chunks), 0));
        let line = format!("  {name:<22} {chunks:>6}  {done:>11}  {:>8}", table.chunks_read);
        let note = if table.rows_refetched > 0 {
            format!("  and {} touched rows by key", table.rows_refetched)
        } else {
            String::new()
        };
        demo.screen.say(&format!("{line}{note}"));
        // Without a key a half loaded table can't be mended: it starts over, as the documents say.
        let starts_over = name == "audit_log" && done < chunks;
        anyhow::ensure!(
            starts_over || done + i64::from(table.chunks_read) <= chunks,
            "{name}: {done} of {chunks} chunks were done, and {} were read again",
            table.chunks_read
        );
    }
    demo.screen.say("No chunk that was done before the kill was read again.\n");
    Ok(())
}

/// Kills the worker while it follows, and waits until the other one does.
pub(super) async fn while_following(demo: &mut Demo) -> Result<()> {
    demo.screen.say("Every table is live. Now the writers hurry.");
    let hurried = Instant::now();
    while hurried.elapsed() < Duration::from_secs(6) {
        demo.show().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let before = demo.installation.api.task(demo.task).await?;
    let place = demo.installation.holder(demo.task).await?;
    demo.installation.workers[place].kill()?;
    let (next, took) = demo.installation.taken_over(&before, TAKEOVER).await?;
    demo.screen.say(&format!(
        "Killed worker-{} by SIGKILL while it followed; worker-{} went on after {took:.1?}.",
        place + 1,
        next + 1
    ));
    demo.installation.workers[place].start()?;
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        demo.show().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

async fn kill(demo: &mut Demo, target: &Client) -> Result<Chunks> {
    let place = demo.installation.holder(demo.task).await?;
    demo.installation.workers[place].kill()?;
    // A commit that was under way when the worker died may still land.
    wait_for_sessions(target).await?;
    let chunks = marks(target).await;
    demo.installation.workers[place].start().context("starting the killed worker again")?;
    Ok(chunks)
}

/// Waits until no other session of the target's role has a transaction open.
async fn wait_for_sessions(target: &Client) -> Result<()> {
    let sql = "select count(*) from pg_stat_activity where usename = current_user and pid <> pg_backend_pid()
               and backend_type = 'client backend' and state <> 'idle' and application_name <> 'wavemark-tests'";
    let end = Instant::now() + Duration::from_secs(5);
    while target.query_one(sql, &[]).await?.get::<_, i64>(0) > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Nothing while the schema is not there yet.
async fn marks(target: &Client) -> Chunks {
    let sql = "select source_table, count(*), count(done_at) from wavemark.chunks group by source_table";
    let rows = target.query(sql, &[]).await.unwrap_or_default();
    rows.into_iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}
