-- Comparisons of source and target: asked for by people, carried out by the worker that runs the task.
create table compares (
    id          uuid primary key,
    number      bigint generated always as identity unique,
    task_id     uuid not null references tasks on delete cascade,
    tables      jsonb,
    sessions    int not null,
    repair      jsonb not null,
    repairs     uuid references compares on delete set null,
    state       text not null default 'waiting'
                check (state in ('waiting', 'running', 'done', 'failed', 'cancelled')),
    progress    jsonb not null default '{}',
    created_by  text not null,
    created_at  timestamptz not null default clock_timestamp(),
    started_at  timestamptz,
    finished_at timestamptz
);
create index compares_task on compares (task_id, number desc);
create index compares_open on compares (task_id) where state in ('waiting', 'running');
