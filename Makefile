# Every command of the project. `make` alone lists them. Programs are built with the whole workspace: a single package
# has other features of the same dependencies, and they would be compiled once more.
TARGET := $(or $(CARGO_TARGET_DIR),target)
# With the tests: else those of their dependencies that tests want more of would be compiled twice.
PROGRAMS = cargo build --workspace --locked --bins --tests
ARGS ?=
# What the benchmark's parts of MySQL need besides.
MYSQL_BENCH = mysql=$$(.ci/mysql-9) && sling=$$(.ci/sling) && WAVEMARK_TEST_MYSQL_BIN=$$mysql WAVEMARK_BENCH_SLING=$$sling

.DEFAULT_GOAL := help
.PHONY: help demo test bench profile faults sysbench sim mutants security fuzz many upgrade workload test-18 test-13 test-mysql test-mariadb-11 fmt lint sqlx sqlx-check openapi openapi-check fidelity fidelity-check deny clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a source that changes, a copy that follows; ARGS=--once ends by itself and says whether they are equal
	@.ci/install demo
	cargo build --release --locked --package wavemark --bin wavemark --package wavemark-tests --bin demo
	@$(TARGET)/release/demo $(ARGS)

test: ## every test, on servers of its own, five at once, for most wait most of their time; ARGS=… goes to the test programs
	@.ci/install test
	$(PROGRAMS)
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-5} cargo test --workspace --locked --no-fail-fast -- $(ARGS)

test-18: ## the tests that need PostgreSQL, on version 18 from Debian's unstable packages (wants patchelf); ARGS=… to the programs
	bin=$$(.ci/postgres-18) && WAVEMARK_TEST_PG_BIN=$$bin cargo test --locked --no-fail-fast \
		--package wavemark-connector-postgres --package wavemark-tests -- $(ARGS)

test-13: ## what version 13 does for: a target, and the source of a full load (wants Maven, unzip and xz); ARGS=… to the programs
	bin=$$(.ci/postgres-13) && export WAVEMARK_TEST_PG_BIN=$$bin && \
		cargo test --locked --no-fail-fast --package wavemark-connector-postgres --lib -- $(ARGS) && \
		cargo test --locked --no-fail-fast --package wavemark-connector-postgres --test it -- old_server:: $(ARGS)

bench: ## load and follow against pgcopydb, COPY | COPY and a native subscription; --only mysql-load and so on in ARGS
	@.ci/install bench
	cargo build --release --locked --package wavemark --bin wavemark --package wavemark-tests --bin bench \
		$(if $(findstring mysql-capture,$(ARGS)),--package wavemark-connector-mysql --example capture)
	@$(if $(findstring mysql-,$(ARGS)),$(MYSQL_BENCH)) $(TARGET)/release/bench $(ARGS)

profile: ## a flame graph of the worker while it follows, as SVG; KIND=… of the benchmark's backlogs (tpcb)
	@.ci/install profile
	cargo build --release --locked --package wavemark --bin wavemark --package wavemark-tests --bin bench
	@$(if $(findstring mysql-,$(KIND)),$(MYSQL_BENCH)) .ci/profile $(KIND) $(ARGS)

faults: ## every kind of harm to running tasks in several worlds at once, then make workload; ARGS=--help (that alone), --pair …
	@.ci/install test
	cargo build --release --locked --package wavemark --bin wavemark --package wavemark-tests --bin faults
	@$(if $(findstring mysql,$(ARGS)),mysql=$$(.ci/mysql-9) && WAVEMARK_TEST_MYSQL_BIN=$$mysql) $(TARGET)/release/faults $(ARGS)
	@[ -n "$(ARGS)" ] || $(MAKE) workload

sysbench: ## all writers of sysbench at MySQL and at MariaDB while they are followed; SECONDS=… how long (60)
	@.ci/install test
	$(PROGRAMS)
	bin=$$(.ci/mysql-9) && WAVEMARK_TEST_MYSQL_BIN=$$bin WAVEMARK_SYSBENCH_SECONDS=$(or $(SECONDS),60) \
		cargo test --workspace --locked --test e2e -- --include-ignored sysbench

sim: ## the engine on simulated systems, 100,000 seeds on every core; SEEDS=… how many, FIRST=… with which to begin
	WAVEMARK_SIM_SEEDS=$(or $(SEEDS),100000) WAVEMARK_SIM_FIRST=$(or $(FIRST),1) \
		cargo test --profile sim --locked --package wavemark-engine --test it -- --nocapture nothing_is_lost

workload: ## random tables and transactions from PostgreSQL to PostgreSQL; SEEDS=… how many (200), FIRST=… with which to begin
	WAVEMARK_WORKLOAD_SEEDS=$(or $(SEEDS),200) WAVEMARK_WORKLOAD_FIRST=$(or $(FIRST),1) \
		cargo test --locked --package wavemark-connector-postgres --test it -- --nocapture workload::

mutants: ## changes of the code that keeps rows exact, one at a time: does a test notice; PART=netting, engine, postgres
	@.ci/install mutants
	@.ci/mutants $(PART) $(ARGS)

security: ## the API by generated requests in every role (schemathesis, from PyPI); EXAMPLES=… of each kind
	@.ci/install test
	$(PROGRAMS)
	@$(TARGET)/debug/stage tests/security/schemathesis.sh

fuzz: ## coverage-guided fuzzing of each decoder of foreign bytes; FUZZ_SECONDS=… each (600)
	@fuzz/run

many: ## many tasks on one worker; TASKS=… how many (200)
	@.ci/install test
	$(PROGRAMS)
	WAVEMARK_TEST_TASKS=$(or $(TASKS),200) cargo test --workspace --locked --test e2e -- many_tasks

test-mysql: ## the tests of MySQL, on version 9 from Debian's unstable packages (wants patchelf); ARGS=… to the programs
	@.ci/install test
	$(PROGRAMS)
	bin=$$(.ci/mysql-9) && WAVEMARK_TEST_MYSQL_BIN=$$bin cargo test --locked --no-fail-fast --workspace \
		--test e2e --lib -- --ignored mysql:: $(ARGS)

test-mariadb-11: ## the tests of MariaDB, on version 11 from Debian's unstable packages (wants patchelf); ARGS=… to the programs
	@.ci/install test
	$(PROGRAMS)
	bin=$$(.ci/mariadb-11) && WAVEMARK_TEST_MARIADB_BIN=$$bin cargo test --locked --no-fail-fast --workspace \
		--test e2e -- --include-ignored mariadb:: $(ARGS)

upgrade: ## the program before this one with this one, server and workers in turn; PREVIOUS=… another commit
	@.ci/install test
	$(PROGRAMS)
	previous=$$(.ci/previous $(PREVIOUS)) && WAVEMARK_PREVIOUS=$$previous \
		cargo test --workspace --locked --test e2e -- --ignored --nocapture upgrade::

fmt: ## format the code
	cargo fmt --all

lint: ## the lints, as CI has them
	cargo clippy --workspace --all-targets --locked -- -D warnings

sqlx: ## write .sqlx anew, after a change of a query or a migration
	@# With a query that is not in .sqlx nothing can be built: then the program from before does.
	@$(PROGRAMS) --quiet || [ -x $(TARGET)/debug/queries ]
	@$(TARGET)/debug/queries

sqlx-check: ## whether .sqlx is what the queries are
	@$(PROGRAMS) --quiet
	@$(TARGET)/debug/queries --check

openapi: ## write openapi/openapi.json anew, after a change of the API
	$(PROGRAMS) --quiet
	$(TARGET)/debug/wavemark openapi > openapi/openapi.json

openapi-check: ## whether openapi/openapi.json is the router's
	@$(PROGRAMS) --quiet
	@$(TARGET)/debug/wavemark openapi | diff -u openapi/openapi.json - || { echo "run make openapi" >&2; exit 1; }

fidelity: ## write the tables of docs/FIDELITY.md anew, after a change of what becomes of a type
	$(PROGRAMS) --quiet
	$(TARGET)/debug/fidelity

fidelity-check: ## whether the tables of docs/FIDELITY.md are what the code says
	@$(PROGRAMS) --quiet
	@$(TARGET)/debug/fidelity --check

deny: ## licences, bans and sources of every dependency
	@.ci/deny

clean: ## remove what was built
	cargo clean
