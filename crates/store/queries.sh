#!/bin/sh
# Writes the committed query data (.sqlx) again from the migrations, or with --check says whether it is fresh.
# Runs a private PostgreSQL for as long as it takes; run it from the top of the repository.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
work=$(mktemp -d /tmp/wavemark-queries-XXXXXX)
port=${WAVEMARK_QUERIES_PORT:-54987}
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
[ "$(id -u)" = 0 ] && chown postgres "$work"
trap 'as "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
as "$bin/initdb" -D "$work/data" -U queries -A trust -E UTF8 --locale=C -N >/dev/null
as "$bin/pg_ctl" -D "$work/data" -l "$work/data/log" -w start \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$work -c fsync=off" >/dev/null
for file in migrations/*.sql; do
    "$bin/psql" -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U queries -d postgres -f "$file"
done
# sqlx makes this table itself before the first migration.
"$bin/psql" -q -h 127.0.0.1 -p "$port" -U queries -d postgres -c 'create table _sqlx_migrations (
    version bigint primary key, description text not null, installed_on timestamptz not null default now(),
    success boolean not null, checksum bytea not null, execution_time bigint not null)'
mkdir "$work/sqlx"
touch crates/store/src/lib.rs
DATABASE_URL="postgres://queries@127.0.0.1:$port/postgres" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$work/sqlx" \
    cargo check -q -p wavemark-store
if [ "${1:-}" = --check ]; then
    diff -rq "$work/sqlx" .sqlx || { echo "the query data is stale: run crates/store/queries.sh" >&2; exit 1; }
else
    rm -rf .sqlx
    mkdir .sqlx
    cp "$work"/sqlx/*.json .sqlx/
    chmod 644 .sqlx/*.json
fi
