-- The log that the sources of tasks without a worker keep is looked at by jobs. Which kinds of jobs there are is the
-- program's to know. A task whose log was let go must load everything again when it is started next.
alter table jobs drop constraint if exists jobs_kind_check;
alter table tasks
    add column log_looked_at timestamptz,
    add column must_reload boolean not null default false;
