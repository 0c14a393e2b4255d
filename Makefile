# The commands of the project. `make demo` and `make test` are the two to know.

PY := .venv/bin/python
UV := .venv/bin/uv
UV_VERSION := 0.13.9
SYNC := $(UV) pip sync --quiet --python $(PY)
COMPILE := $(UV) pip compile --quiet --no-emit-index-url --generate-hashes --python-version 3.11 pyproject.toml
PEERS := var/peers
NODE_PEERS := @modelcontextprotocol/server-everything@2026.8.31 \
  @modelcontextprotocol/server-filesystem@2026.8.31 @modelcontextprotocol/server-memory@2026.8.31 \
  supergateway@4.0.0 typescript@5.9.3 @types/node@20.19.43 openapi-typescript@7.13.0 openapi-fetch@0.17.0
# Folders with a Python environment each, since no two of them take the same version of mcp.
PYTHON_PEERS := mcp mcp-1.9 fastmcp

# What was compiled once is not compiled anew by each of hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

# Settings as in production, for the checks that look at them.
PRODUCTION := DEBUG=0 DATABASE_URL=sqlite:// ALLOWED_HOSTS=tasks.example.com \
  SECRET_KEY=only-for-checks-$$(head -c 40 /dev/urandom | base64 -w 0) \
  CAYLEX_CREDENTIAL_KEYS=$$(head -c 32 /dev/urandom | base64 -w 0)

.PHONY: help install install-dev install-peers demo run test test-all test-unit \
  test-postgresql-first test-postgresql-rest test-sqlite test-sqlite-rest \
  test-postgresql-processes test-sqlite-processes check \
  lint types layers settings chaos chaos-minute bench browser pictures lock clean

help:
	@echo "make demo [ONCE=1]   the whole service with a task, on this machine"
	@echo "make run [PORT=8000] web and workers, for development, until either of them ends"
	@echo "make test            the suite on PostgreSQL, and on SQLite what depends on the database"
	@echo "make test-all        the whole suite on both"
	@echo "make test-unit       the tests that need no database and no process of the service"
	@echo "make check           the suite and every static gate"
	@echo "make chaos           ten minutes of faults under load [DATABASE= SECONDS= SEED= WITHOUT=]"
	@echo "make browser         the admin in chromium, where /usr/bin/chromium is"
	@echo "make pictures        the pictures of the support guide anew"
	@echo "make install-peers   other people's programs for the optional tests"
	@echo "make bench           measured against its peers; takes ten minutes"
	@echo "make lock            the lock files anew"

.venv/bin/uv:
	@command -v python3.11 >/dev/null && python3.11 -m venv .venv || python3 -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# With the development environment present, its lock holds everything that the demo needs too.
.venv/.runtime: requirements/runtime.lock | .venv/bin/uv
	@test -f .venv/.dev || $(SYNC) requirements/runtime.lock
	@touch $@

.venv/.dev: requirements/dev.lock | .venv/bin/uv
	@$(SYNC) requirements/dev.lock
	@touch $@ .venv/.runtime

install: .venv/.runtime

install-dev: .venv/.dev

install-peers: $(PEERS)/.installed

$(PEERS)/.installed: $(PEERS)/venv/.installed $(PYTHON_PEERS:%=$(PEERS)/%/.installed)
	@npm install --prefix $(PEERS) --silent --no-audit --no-fund --ignore-scripts $(NODE_PEERS)
	@touch $@

define install-peer
@mkdir -p $(PEERS)
@$(UV) venv --quiet --clear --python $(PY) $(@D)
@$(UV) pip install --quiet --no-deps --python $(@D)/bin/python -r $<
@touch $@
endef

$(PEERS)/venv/.installed: requirements/peers.txt | .venv/bin/uv
	$(install-peer)

$(PYTHON_PEERS:%=$(PEERS)/%/.installed): $(PEERS)/%/.installed: requirements/peers-%.txt | .venv/bin/uv
	$(install-peer)

demo: install
	@$(PY) -m demo.run $(if $(ONCE),--once)

run: install
	@umask 077; DEBUG=1 $(PY) manage.py migrate --verbosity 0
	@umask 077; exec $(PY) -m demo.development --port $(or $(PORT),8000)

# All at once: those with processes wait most of the time, for what was killed to come back.
test: install-dev
	@$(MAKE) --no-print-directory --jobs=4 --output-sync=target \
	  test-postgresql-processes test-sqlite-processes test-postgresql-first test-postgresql-rest test-sqlite

test-all: test test-sqlite-rest

# Tests against other people's programs run where these are installed, and say so where not.
PYTEST := $(if $(wildcard $(PEERS)/.installed),CAYLEX_PEERS=$(CURDIR)/$(PEERS)) $(PY) -m pytest -rs
# The stories in a browser have their own target.
PROCESSES := tests/system
UNIT := tests/unit tests/test_docs.py tests/test_house_style.py
FIRST := tests/accounts tests/admin tests/api tests/connect tests/db tests/engine
# On SQLite too: what speaks SQL of its own or depends on how a database locks.
SQLITE := tests/accounts tests/connect tests/db tests/engine tests/monitoring tests/queries tests/webhooks \
  tests/web/test_web_on_sqlite.py
SQLITE_PROCESSES := tests/system/chaos tests/system/e2e tests/system/failpoints tests/system/faults/test_sqlite.py
but = $(addprefix --ignore=,$(1) tests/browser)

test-unit: install-dev
	CAYLEX_TEST_DATABASE=sqlite $(PYTEST) $(UNIT)

test-postgresql-first: install-dev
	CAYLEX_TEST_DATABASE=postgresql $(PYTEST) $(FIRST)

test-postgresql-rest: install-dev
	CAYLEX_TEST_DATABASE=postgresql $(PYTEST) $(call but,$(PROCESSES) $(FIRST))

test-postgresql-processes: install-dev
	CAYLEX_TEST_DATABASE=postgresql $(PYTEST) $(PROCESSES)

test-sqlite: install-dev
	CAYLEX_TEST_DATABASE=sqlite $(PYTEST) $(SQLITE)

test-sqlite-processes: install-dev
	CAYLEX_TEST_DATABASE=sqlite $(PYTEST) $(SQLITE_PROCESSES)

test-sqlite-rest: install-dev
	CAYLEX_TEST_DATABASE=sqlite $(PYTEST) $(call but,$(SQLITE) $(SQLITE_PROCESSES) $(UNIT) tests/demo)

check: lint types layers settings test

lint: install-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: install-dev
	DEBUG=1 .venv/bin/mypy .

layers: install-dev
	DEBUG=1 .venv/bin/lint-imports

settings: install-dev
	DEBUG=1 $(PY) manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(PY) manage.py check --deploy --fail-level WARNING
	DEBUG=1 $(PY) manage.py spectacular --validate --fail-on-warn --file /dev/null

CHAOS := $(PY) -m tests.system.chaos.run --database $(or $(DATABASE),postgresql)

chaos: install-dev
	$(CHAOS) --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) \
	  $(if $(WITHOUT),--without $(WITHOUT))

chaos-minute: install-dev
	$(CHAOS) --seconds 40 --seed $(or $(SEED),4)

browser: install-dev
	CAYLEX_TEST_DATABASE=sqlite $(PYTEST) -m browser tests/browser

pictures: install-dev
	$(PY) -m tests.browser.screenshots

bench/.venv-%/.installed: bench/requirements/%.txt | .venv/bin/uv
	@$(UV) venv --quiet --allow-existing --python $(PY) $(@D)
	@$(UV) pip sync --quiet --python $(@D)/bin/python $<
	@touch $@

bench/.venv-ours/.installed: requirements/runtime.lock | .venv/bin/uv
	@$(UV) venv --quiet --allow-existing --python $(PY) $(@D)
	@$(UV) pip sync --quiet --python $(@D)/bin/python $<
	@touch $@

# BENCH="--quick" or BENCH="--only steps,growth"; see docs/benchmarks.md.
bench: install-dev $(patsubst %,bench/.venv-%/.installed,ours langgraph dbos)
	@$(PY) -m bench.run $(BENCH)

lock: install-dev
	$(COMPILE) -o requirements/runtime.lock
	$(COMPILE) --group dev -c requirements/runtime.lock -o requirements/dev.lock

clean:
	rm -rf .venv var static_root
