PY := .venv/bin/python
UV_VERSION := 0.13.9

.PHONY: install install-dev lint types layers check test lock

.venv/.runtime: requirements/runtime.lock
	python3.11 -m venv .venv || python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	.venv/bin/uv pip install --quiet --python $(PY) -r requirements/runtime.lock
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.lock
	.venv/bin/uv pip install --quiet --python $(PY) -r requirements/dev.lock
	@touch $@

install: .venv/.runtime

install-dev: .venv/.dev

lint: install-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: install-dev
	DEBUG=1 .venv/bin/mypy .

layers: install-dev
	DEBUG=1 .venv/bin/lint-imports

test: install-dev
	$(PY) -m pytest
	CAYLEX_TEST_DATABASE=sqlite $(PY) -m pytest

lock: install-dev
	.venv/bin/uv pip compile --quiet --no-emit-index-url --generate-hashes --python-version 3.11 pyproject.toml -o requirements/runtime.lock
	.venv/bin/uv pip compile --quiet --no-emit-index-url --generate-hashes --python-version 3.11 pyproject.toml --group dev -c requirements/runtime.lock -o requirements/dev.lock
