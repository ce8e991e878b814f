//! Schema `wavemark` at the target: what Wavemark keeps there, with a comment on each table.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use wavemark_domain::{Fault, Problem};

use super::fault::problem;

/// The version of the schema that this program writes and reads.
pub(crate) const VERSION: i32 = 2;

/// Two openings must not make the schema at once: `CREATE … IF NOT EXISTS` is no protection against that.
const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7813457201128641)";

/// The first version. It is never edited: what came later is in [`MIGRATIONS`], so that a schema that is made now and one
/// that was made long ago end up the same.
pub(crate) const FIRST: &str = r"
CREATE SCHEMA wavemark;
COMMENT ON SCHEMA wavemark IS 'What Wavemark keeps about the tasks that write into this database. Read it freely; change nothing.';

CREATE TABLE wavemark.version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version integer NOT NULL
);
COMMENT ON TABLE wavemark.version IS 'The version of this schema. A program older than it refuses to write.';
INSERT INTO wavemark.version (version) VALUES (1);

CREATE TABLE wavemark.fence (
    task uuid PRIMARY KEY,
    name text NOT NULL,
    generation integer NOT NULL,
    epoch bigint NOT NULL,
    tombstone boolean NOT NULL DEFAULT false,
    writers jsonb NOT NULL DEFAULT '[]',
    opened_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE wavemark.fence IS 'One row per task: who may write. Every transaction of a task locks its row and checks the epoch; opening the target raises the epoch and ends the sessions in writers. A tombstone stays when a task is deleted, so that a late worker cannot revive it.';

CREATE TABLE wavemark.progress (
    task uuid NOT NULL,
    wave bigint NOT NULL,
    position bytea NOT NULL,
    position_text text NOT NULL,
    source_committed_at timestamptz,
    committed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    epoch bigint NOT NULL,
    PRIMARY KEY (task, wave)
);
COMMENT ON TABLE wavemark.progress IS 'Bookmarks. Each wave inserts its row in the commit of its changes; the newest counts, a few older ones are kept. A source transaction is in this database if and only if it ended at or before the newest position.';

CREATE TABLE wavemark.tables (
    task uuid NOT NULL,
    source_schema text NOT NULL,
    source_table text NOT NULL,
    target_schema text NOT NULL,
    target_table text NOT NULL,
    stage text NOT NULL CHECK (stage IN ('loading', 'loaded', 'parked', 'superseded')),
    began bytea NOT NULL,
    position bytea NOT NULL,
    storage text NOT NULL,
    made boolean NOT NULL,
    problem jsonb,
    changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (task, source_schema, source_table)
);
COMMENT ON TABLE wavemark.tables IS 'One row per table that a task has begun: at which position its load began, as of which one its rows are, and how far it is. made says that Wavemark made the target table. A parked table has everything up to its position and nothing later; problem says why. A superseded one holds rows of an earlier load, which the next may remove.';

CREATE TABLE wavemark.chunks (
    task uuid NOT NULL,
    source_schema text NOT NULL,
    source_table text NOT NULL,
    number integer NOT NULL,
    range text NOT NULL,
    rows bigint,
    bytes bigint,
    done_at timestamptz,
    PRIMARY KEY (task, source_schema, source_table, number)
);
COMMENT ON TABLE wavemark.chunks IS 'The parts of a table that is being loaded. done_at is set in the commit of the part''s rows.';

CREATE TABLE wavemark.foreign_keys (
    task uuid NOT NULL,
    on_schema text NOT NULL,
    on_table text NOT NULL,
    name text NOT NULL,
    definition text NOT NULL,
    PRIMARY KEY (task, on_schema, on_table, name)
);
COMMENT ON TABLE wavemark.foreign_keys IS 'Foreign keys that were dropped so that the table they point at could be loaded. They are made again at the end of the load.';

CREATE TABLE wavemark.exceptions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task uuid NOT NULL,
    task_name text NOT NULL,
    wave bigint NOT NULL,
    source_table text NOT NULL,
    target_table text NOT NULL,
    kind text NOT NULL,
    key jsonb NOT NULL,
    position bytea,
    wave_position_text text,
    code text NOT NULL,
    error text NOT NULL,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE wavemark.exceptions IS 'Rows that could not be applied and were left out, as the task''s settings say, each in the commit of its wave. key holds the key''s columns (of a table without a key: all columns) as text; wave_position_text is where its wave ends in the source''s log.';

CREATE FUNCTION wavemark.hold(a_task uuid, a_generation integer, an_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM wavemark.fence f
      WHERE f.task = a_task AND f.generation = a_generation AND f.epoch = an_epoch AND NOT f.tombstone
      FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another epoch holds this target' USING ERRCODE = 'WM001';
    END IF;
END $$;
COMMENT ON FUNCTION wavemark.hold IS 'Takes the fence of a task for a wave, or fails when another epoch holds it.';

CREATE FUNCTION wavemark.share(a_task uuid, a_generation integer, an_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM wavemark.fence f
      WHERE f.task = a_task AND f.generation = a_generation AND f.epoch = an_epoch AND NOT f.tombstone
      FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another epoch holds this target' USING ERRCODE = 'WM001';
    END IF;
END $$;
COMMENT ON FUNCTION wavemark.share IS 'Takes the fence of a task for a chunk or a change of a table, beside others that do the same.';

CREATE FUNCTION wavemark.mismatch(what text, found bigint, expected bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% touched % rows where % must be', what, $2, expected USING ERRCODE = 'WM002';
END $$;
COMMENT ON FUNCTION wavemark.mismatch IS 'Fails a wave whose change did not find its row.';
";

/// What leads from each version to the next. A program of the version before goes on writing through the sessions that it
/// has open, so these add and take nothing away; one that must take something away changes `hold` and `share`, too.
const MIGRATIONS: [(i32, &str); 1] = [(
    2,
    "ALTER TABLE wavemark.fence ADD COLUMN kind text; \
     COMMENT ON COLUMN wavemark.fence.kind IS 'What the task does: full-load, cdc or full-load-and-cdc.'; \
     ALTER TABLE wavemark.tables ADD COLUMN columns jsonb; \
     COMMENT ON COLUMN wavemark.tables.columns IS 'The columns that are written: pairs of the name at the source and the \
     name here. Without the metadata it says whether a task may go on from this mark.'; \
     CREATE OR REPLACE FUNCTION wavemark.share(a_task uuid, a_generation integer, an_epoch bigint) RETURNS void \
     LANGUAGE plpgsql AS $$ \
     BEGIN \
         PERFORM FROM wavemark.fence f \
           WHERE f.task = a_task AND f.generation = a_generation AND f.epoch = an_epoch AND NOT f.tombstone \
           FOR KEY SHARE; \
         IF NOT FOUND THEN \
             RAISE EXCEPTION 'another epoch holds this target' USING ERRCODE = 'WM001'; \
         END IF; \
     END $$; \
     COMMENT ON FUNCTION wavemark.share IS 'Takes the fence of a task for a chunk or a change of a table, beside others \
     and beside a wave.'",
)];

/// What came since without a version of its own: a program that does not know it goes on without. The function said `f`
/// instead of the number: `found` is PL/pgSQL's own variable as well.
const ADDED: &str = "ALTER TABLE wavemark.tables ADD COLUMN IF NOT EXISTS layout jsonb; \
     COMMENT ON COLUMN wavemark.tables.layout IS 'The table at the source as its rows here have it, as of the bookmark: \
     the log is read on from that.'; \
     CREATE TABLE IF NOT EXISTS wavemark.unfit (task uuid NOT NULL, source_schema text NOT NULL, \
         source_table text NOT NULL, source_column text NOT NULL, way text NOT NULL, part integer NOT NULL, \
         \"values\" bigint NOT NULL, since timestamptz NOT NULL, \
         PRIMARY KEY (task, source_schema, source_table, source_column, way, part)); \
     COMMENT ON TABLE wavemark.unfit IS 'How many values of a column had no place here and were written as NULL (null) or \
     as the nearest value (clamp), each counted in the commit of its row. part is the number of a chunk, or -1 for all that \
     came later; since is when the first came, by the clock of the worker.'; \
     CREATE OR REPLACE FUNCTION wavemark.mismatch(what text, found bigint, expected bigint) RETURNS bigint \
     LANGUAGE plpgsql AS $$ \
     BEGIN \
         RAISE EXCEPTION '% touched % rows where % must be', what, $2, expected USING ERRCODE = 'WM002'; \
     END $$";

/// Whether all of [`ADDED`] is there, or what of it is not this role's to make.
const HAS_ADDED: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute \
     WHERE attrelid = pg_catalog.to_regclass('wavemark.tables') AND attname = 'layout') \
     AND pg_catalog.to_regclass('wavemark.unfit') IS NOT NULL \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace \
     WHERE n.nspname = 'wavemark' AND f.proname = 'mismatch' AND pg_catalog.pg_has_role(f.proowner, 'USAGE') \
     AND pg_catalog.strpos(f.prosrc, '$2') = 0)";

/// Makes the schema if it is missing, brings an older one to this version, and refuses a newer one.
pub(crate) async fn ensure(client: &mut Client) -> Result<(), Problem> {
    let doing = "prepare schema wavemark in the target database";
    let refused = |error: tokio_postgres::Error| {
        problem(&error, doing)
            .advice("GRANT CREATE ON DATABASE to the endpoint's role, or make the schema as its owner.")
    };
    let version = match version(client).await.map_err(refused)? {
        Some(version) if version > VERSION => version,
        Some(VERSION) if client.query_one(HAS_ADDED, &[]).await.map_err(refused)?.get(0) => VERSION,
        _ => bring_forward(client).await.map_err(refused)?,
    };
    refuse_newer(version)
}

/// A program does not touch what a newer one made.
pub(crate) fn refuse_newer(version: i32) -> Result<(), Problem> {
    if version > VERSION {
        let text = format!(
            "Schema wavemark in the target database has version {version}; this program knows versions up to {VERSION}."
        );
        return Err(Problem::new(Fault::Settings, "schema-too-new", text).advice("Use a newer worker for this target."));
    }
    Ok(())
}

/// The version of the schema that is there.
pub(crate) async fn version(client: &Client) -> Result<Option<i32>, tokio_postgres::Error> {
    match client.query_one("SELECT version FROM wavemark.version", &[]).await {
        Ok(row) => Ok(Some(row.get(0))),
        Err(error) if matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Makes the first version if there is none, then runs what is missing, in one commit.
///
/// It is done under the fence: while the table is locked no wave and no chunk of any task is under way.
async fn bring_forward(client: &mut Client) -> Result<i32, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK).await?;
    let there: bool =
        transaction.query_one("SELECT pg_catalog.to_regclass('wavemark.version') IS NOT NULL", &[]).await?.get(0);
    if !there {
        transaction.batch_execute(FIRST).await?;
    }
    transaction.batch_execute("LOCK TABLE wavemark.fence IN ACCESS EXCLUSIVE MODE").await?;
    let found: i32 = transaction.query_one("SELECT version FROM wavemark.version", &[]).await?.get(0);
    for (_, sql) in MIGRATIONS.iter().filter(|(next, _)| *next > found) {
        transaction.batch_execute(sql).await?;
    }
    transaction.batch_execute(ADDED).await?;
    let version = found.max(VERSION);
    transaction.execute("UPDATE wavemark.version SET version = $1 WHERE version < $1", &[&version]).await?;
    transaction.commit().await?;
    Ok(version)
}
