# make up        install what is missing into .venv and run everything; Ctrl-C stops it
# make test      install what is missing and run the tests, in two processes: make test WORKERS=4 for more,
#                make test TESTS="fc_pipeline_tests/fold -x" for some of them
# make lint      ruff, import-linter (the layers in pyproject.toml) and pyright
# make sync      catch up to the hub's head and end
# make test-slow run the tests of a whole `up`, of processes that are killed, and others that take long;
#                FC_LIVE_SET_EVENTS=1000000 makes the log long that a test of live sets folds
# make test-stock the tests of all rooms with SQL, on each Postgres of Debian's packages that is installed here
# make test-partitions the tests of these rooms on a database whose large tables are in 16 partitions
# make test-pythons a part of the tests with each of Python 3.11, 3.12 and 3.13 that is installed here
# make test-faults the full matrix of faults, with a table of results; FC_FAULT_SEED=N repeats one, FC_FAULT_SEEDS=N plays more
# make test-mutations plants bugs in a copy of the package and prints which test notices each
# make test-live tests against a public hub, skipped where none can be reached
# make bench     measure decoding, catching up and following live; prints a table, writes data/bench.json
#                following for 15 minutes alone: make bench BENCH="--only live --live-seconds 900"
#                what apps read from a full network: make bench BENCH="--only read"
#                what proofs of the live set cost: make bench BENCH="--only proof"
#                a replica from a node's files: make bench BENCH="--only bootstrap"
# make docs      write docs/tables.md, docs/api.md and the settings of README.md from their declarations
# make lock      resolve the dependencies again
# make audit     look the locked dependencies up among known vulnerabilities
# make clean     remove .venv and caches; the data stays

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
WORKERS ?= 2
# A module's tests stay in one process, for many share a pipeline; folders are kept of failed tests only.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder \
  -o tmp_path_retention_policy=failed --durations=15 --durations-min=5
# Once for all processes, also where PYTHONDONTWRITEBYTECODE keeps them from it; some wheels have files of other Pythons.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib fc_pipeline || true
export PIP_NO_INPUT := 1

.PHONY: up sync test test-slow test-stock test-partitions test-pythons test-faults test-mutations test-live bench lint lock audit docs clean

up: $(VENV)/.runtime
	@$(BIN)/fc-pipeline up

sync: $(VENV)/.runtime
	@$(BIN)/fc-pipeline sync

test: $(VENV)/.dev
	$(PYTEST) $(TESTS)

test-slow: $(VENV)/.dev
	$(PYTEST) -m "slow and not faults and not mutations" $(TESTS)

# Of the rooms whose SQL it is; the whole matrix of servers is in the faults.
STOCK_ROOMS := $(addprefix fc_pipeline_tests/,backfill bootstrap feed fold reconcile repair status store targets)
test-stock: $(VENV)/.dev
	@for server in /usr/lib/postgresql/*/bin/postgres; do \
	  [ -x "$$server" ] || { echo "no stock Postgres is installed: nothing is tested"; continue; }; \
	  version=$${server#/usr/lib/postgresql/}; version=$${version%%/*}; echo "Postgres $$version"; \
	  STOCK_POSTGRES=$$version $(PYTEST) $(STOCK_ROOMS) $(TESTS) || exit 1; \
	done

# Of the rooms that write these tables, compare them or read them; make test-partitions PARTITIONED=slow their slow tests.
PARTITIONED_ROOMS := $(addprefix fc_pipeline_tests/,bootstrap fold reconcile repair serving status store targets)
PARTITIONED ?= not slow
test-partitions: $(VENV)/.dev
	TEST_PARTITIONS=16 $(PYTEST) -m "$(PARTITIONED) and not faults and not mutations" $(PARTITIONED_ROOMS) $(TESTS)

test-pythons:
	@.ci/test-pythons

test-faults: $(VENV)/.dev
	$(BIN)/python -m pytest -m faults $(TESTS)

test-mutations: $(VENV)/.dev
	$(BIN)/python -m pytest -m mutations $(TESTS)

test-live: $(VENV)/.dev
	$(BIN)/python -m pytest -rs fc_pipeline_tests/live

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: this Python cannot make a virtual environment. Debian: apt install python3-venv"; exit 1; }
	@echo "making $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)

# The package itself is installed from here without isolation: what builds it is in the locks.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/pip
	@echo "installing into $(VENV) (some minutes the first time) ..."
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "installing what the tests need into $(VENV) ..."
	@$(PIP) -r requirements-dev.lock
	@$(COMPILE)
	@touch $@

# Needs uv (pip install uv). One resolution: the runtime lock is the part of the other that runs need.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --custom-compile-command 'make lock' \
	  --extra alerts --extra build --extra grpc --extra k8s --extra node --extra s3 --extra dev pyproject.toml --output-file requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --custom-compile-command 'make lock' \
	  --extra alerts --extra build --extra grpc --extra k8s --extra node --extra s3 --constraint requirements-dev.lock pyproject.toml --output-file requirements.lock

# Strict: a dependency that could not be looked up, as behind a mirror without advisories, is a failure and not clean.
audit: $(VENV)/.dev
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off -r requirements.lock

bench: $(VENV)/.dev
	$(BIN)/python -W ignore -m fc_pipeline_tests.benchmarks $(BENCH)

docs: $(VENV)/.runtime
	$(BIN)/python -m fc_pipeline.tables.reference > docs/tables.md
	$(BIN)/python -m fc_pipeline.serving.reference > docs/api.md
	$(BIN)/python -m fc_pipeline.metrics.reference > docs/metrics.md
	$(BIN)/python -m fc_pipeline.config.reference README.md

clean:
	rm -rf $(VENV) .venv-3.* .pytest_cache .ruff_cache .hypothesis *.egg-info
	find fc_pipeline fc_pipeline_tests -name __pycache__ -type d -exec rm -rf {} +
