# Everything runs in .venv, which is made on first use; nothing but Python 3.11+ and make is expected.
# What else tests need is installed where that may be done (tests/programs.sh); a test without its program is skipped.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2
SIZE ?= full
# Whole files, begun in the order of tests/conftest.py.
PYTEST = $(BIN)/pytest --quiet --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# Tests that start processes, servers or a rehearsal, or read many documents: minutes, where all others take seconds.
SLOW := $(addprefix tests/,cli e2e goldens/test_records.py history lab nomad rehearsal release remote ssh)

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint unit e2e bench bench-smoke lab docs dist hooks clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --upgrade pip
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.develop: $(VENV)/.runtime
	$(PIP) install --constraint constraints.txt --group dev
	@touch $@

demo: $(VENV)/.runtime ## enrol a rehearsal fleet on loopback, without root
	$(BIN)/ionetctl demo

$(VENV)/.programs: tests/programs.sh | $(VENV)/.develop
	@if sh tests/programs.sh; then touch $@; fi

test: lint unit ## all checks; what cannot run here is named at the end

quick: lint ## lint, types and the pure tests, in under two minutes
	$(PYTEST) $(addprefix --ignore ,$(SLOW))

lint: $(VENV)/.develop ## ruff, mypy, shellcheck
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/shellcheck --shell=sh ionetctl/remote/*.sh templates/*.sh.j2 tests/programs.sh tests/bench/set_up.sh .ci/run

# Tests of real hosts and of deadlines wait half of their time: one worker more than there are cores.
unit: WORKERS = 3
unit: $(VENV)/.develop $(VENV)/.programs
	$(PYTEST) --cov --cov-report=
	@$(BIN)/coverage report --include '$(shell cat tests/pure_core.txt | paste -sd, -)' --fail-under 100

e2e: $(VENV)/.develop $(VENV)/.programs ## real systemd hosts with OpenSSH (root on Debian; a real Nomad where one is on PATH)
	$(BIN)/pytest tests/e2e -ra --verbose

bench: $(VENV)/.develop ## speed and memory beside floors and peers; no part begins after two hours (SIZE=medium for a busy machine)
	sh tests/bench/set_up.sh build/bench $(BIN)/python
	$(BIN)/python -m tests.bench --size $(SIZE) --doc

bench-smoke: $(VENV)/.develop ## the same at its smallest, in under three minutes
	sh tests/bench/set_up.sh build/bench $(BIN)/python
	$(BIN)/python -m tests.bench --size smoke --out build/bench/smoke

lab: $(VENV)/.runtime ## a rehearsal fleet that stays up until Ctrl-C
	$(BIN)/ionetctl lab up --hosts 50 --dir .lab

docs: $(VENV)/.develop ## the pages that are made from the source
	$(BIN)/python -m tests.checks.page

dist: $(VENV)/.develop ## wheel, sdist and SBOM of the last commit in dist/, the same bytes each time
	rm -rf dist
	$(BIN)/python -m tests.release.build dist

hooks: $(VENV)/.develop ## have git run make quick before each commit
	$(BIN)/pre-commit install

clean: ## remove what make made
	rm -rf $(VENV) .lab .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
