-- Drains are numbered per task: asked for, and done as the worker says.
alter table tasks
    add column drain_asked bigint not null default 0,
    add column drain_done  bigint not null default 0;
