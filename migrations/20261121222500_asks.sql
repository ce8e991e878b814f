-- What people ask of running tasks is numbered across all of them, so that a worker's poll can tell what is new to it.
create sequence asks;
alter table tasks add column last_ask bigint not null default 0;
