-- The metadata of Wavemark. Only the server touches it. Times are the database's own clock.

create table instance_secrets (
    name       text primary key,
    key_id     text not null,
    nonce      bytea not null,
    sealed     bytea not null
);

create table first_run (
    only_one   boolean primary key default true check (only_one),
    code_hash  bytea not null,
    made_at    timestamptz not null default clock_timestamp()
);

create table users (
    id            uuid primary key,
    name          text not null unique,
    password_hash text not null,
    role          text not null check (role in ('viewer', 'operator', 'admin')),
    disabled      boolean not null default false,
    created_at    timestamptz not null default clock_timestamp()
);

-- One login. The refresh token is rotated inside it; the one before is kept to notice a stolen one.
create table sessions (
    id            uuid primary key,
    user_id       uuid not null references users on delete cascade,
    refresh_hash  bytea not null unique,
    previous_hash bytea,
    address       text,
    created_at    timestamptz not null default clock_timestamp(),
    expires_at    timestamptz not null,
    revoked_at    timestamptz
);
create index sessions_user on sessions (user_id);
create index sessions_previous on sessions (previous_hash);

create table api_tokens (
    id           uuid primary key,
    user_id      uuid not null references users on delete cascade,
    name         text not null,
    token_hash   bytea not null unique,
    role         text not null check (role in ('viewer', 'operator', 'admin')),
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

create table worker_tokens (
    id           uuid primary key,
    name         text not null,
    token_hash   bytea not null unique,
    created_at   timestamptz not null default clock_timestamp(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);

create table idempotency (
    user_id      uuid not null,
    key          text not null,
    request_hash bytea not null,
    status       smallint,
    body         jsonb,
    created_at   timestamptz not null default clock_timestamp(),
    primary key (user_id, key)
);
create index idempotency_age on idempotency (created_at);

create table endpoints (
    id         uuid primary key,
    name       text not null unique,
    engine     text not null,
    role       text not null check (role in ('source', 'target', 'both')),
    settings   jsonb not null,
    version    integer not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    tested_at  timestamptz,
    test       jsonb
);

create table endpoint_secrets (
    endpoint_id uuid not null references endpoints on delete cascade,
    field       text not null,
    key_id      text not null,
    nonce       bytea not null,
    sealed      bytea not null,
    primary key (endpoint_id, field)
);

create table discoveries (
    endpoint_id uuid primary key references endpoints on delete cascade,
    tables      jsonb not null,
    found_at    timestamptz not null default clock_timestamp()
);

create table workers (
    id            uuid primary key,
    name          text not null,
    version       text not null,
    places        integer not null,
    engines       text[] not null,
    token_id      uuid references worker_tokens on delete set null,
    registered_at timestamptz not null default clock_timestamp(),
    seen_at       timestamptz not null default clock_timestamp(),
    drain_asked   boolean not null default false,
    draining      boolean not null default false,
    cpu_percent   real,
    memory_bytes  bigint
);

create table tasks (
    id                 uuid primary key,
    name               text not null unique,
    kind               text not null check (kind in ('full-load', 'cdc', 'full-load-and-cdc')),
    source_id          uuid not null references endpoints,
    target_id          uuid not null references endpoints,
    config_version     integer not null default 1,
    status             text not null default 'ready',
    status_since       timestamptz not null default clock_timestamp(),
    -- Counts the lives of the task's artefacts; granted_generation is the newest that any worker held.
    generation         integer not null default 1,
    granted_generation integer not null default 0,
    -- The highest epoch ever granted or found in the target. Only ever raised.
    epoch              bigint not null default 0,
    not_before         timestamptz,
    progress           jsonb,
    progress_at        timestamptz,
    problem            jsonb,
    clean_up           jsonb,
    created_at         timestamptz not null default clock_timestamp(),
    updated_at         timestamptz not null default clock_timestamp(),
    started_at         timestamptz,
    stopped_at         timestamptz
);
create index tasks_status on tasks (status);
create index tasks_source on tasks (source_id);
create index tasks_target on tasks (target_id);

create table task_configs (
    task_id    uuid not null references tasks on delete cascade,
    version    integer not null,
    name       text not null,
    kind       text not null,
    source_id  uuid not null,
    target_id  uuid not null,
    mappings   jsonb not null,
    settings   jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    created_by text not null,
    primary key (task_id, version)
);

create table task_tables (
    task_id       uuid not null references tasks on delete cascade,
    source_schema text not null,
    source_table  text not null,
    target_schema text not null,
    target_table  text not null,
    state         text not null,
    progress      jsonb not null,
    changed_at    timestamptz not null default clock_timestamp(),
    primary key (task_id, source_schema, source_table)
);
create index task_tables_target on task_tables (target_schema, target_table);

-- A row stays after its time is over: the worker may still be writing until another one has raised the epoch
-- in the target. It goes when the worker gives the lease back.
create table leases (
    task_id    uuid primary key references tasks on delete cascade,
    worker_id  uuid not null references workers,
    epoch      bigint not null,
    granted_at timestamptz not null default clock_timestamp(),
    renewed_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
);
create index leases_worker on leases (worker_id);

create table jobs (
    id          uuid primary key,
    kind        text not null check (kind in ('test', 'discover', 'assess')),
    endpoint_id uuid references endpoints on delete cascade,
    task_id     uuid references tasks on delete cascade,
    status      text not null default 'waiting' check (status in ('waiting', 'running', 'done', 'failed')),
    worker_id   uuid references workers on delete set null,
    outcome     jsonb,
    created_by  text not null,
    created_at  timestamptz not null default clock_timestamp(),
    started_at  timestamptz,
    finished_at timestamptz
);
create index jobs_open on jobs (created_at) where status in ('waiting', 'running');

-- Counters as reported, so that rates are differences. coarse rows are one per minute.
create table samples (
    task_id         uuid not null references tasks on delete cascade,
    at              timestamptz not null,
    coarse          boolean not null default false,
    epoch           bigint not null,
    lag_ms          bigint,
    behind_bytes    bigint,
    log_kept_bytes  bigint,
    changes_read    bigint not null,
    changes_written bigint not null,
    bytes_written   bigint not null,
    rows_loaded     bigint not null,
    bytes_loaded    bigint not null,
    primary key (task_id, at)
);
create index samples_age on samples (coarse, at);

create table events (
    id             bigint generated always as identity primary key,
    at             timestamptz not null default clock_timestamp(),
    worker_at      timestamptz,
    severity       text not null check (severity in ('info', 'warning', 'error')),
    code           text not null,
    text           text not null,
    task_id        uuid,
    task_name      text,
    config_version integer,
    worker_id      uuid,
    epoch          bigint,
    table_schema   text,
    table_name     text,
    problem        jsonb
);
create index events_task on events (task_id, id);
create index events_at on events (at);

create table audit_log (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default clock_timestamp(),
    actor       text not null,
    actor_id    uuid,
    address     text,
    action      text not null,
    object_kind text not null,
    object_id   text,
    object_name text,
    difference  jsonb
);
