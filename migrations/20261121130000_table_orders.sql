-- What people ask of single tables of a task. A row goes when a worker says that the target holds what follows from it.
create table table_orders (
    number        bigint generated always as identity primary key,
    task_id       uuid not null references tasks on delete cascade,
    source_schema text not null,
    source_table  text not null,
    wish          text not null check (wish in ('reload', 'park')),
    created_by    text not null,
    created_at    timestamptz not null default clock_timestamp()
);
create index table_orders_task on table_orders (task_id);
