# Every target sets itself up: its first use makes .venv and installs what it needs; a stamp remembers it.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# Three depths of installation. Each stamp is older than pyproject.toml as soon as a dependency changes.
ENGINE_STAMP := $(VENV)/.installed-engine
KAFKA_STAMP := $(VENV)/.installed-kafka
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup fmt check test test-fast sim mutants it chaos chaos-slice bench demo kafka kafka-down clean kafka-jars

help: ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(DEV_STAMP) ## make .venv with everything for development

fmt: $(DEV_STAMP) ## format and fix what can be fixed
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

check: $(DEV_STAMP) ## format, lint, types, imports: what CI asks first
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

test: $(DEV_STAMP) kafka-jars ## all tests, in two processes; each starts a real Kafka for those that need one
	$(RUN) -m pytest --numprocesses 2 --dist loadfile

test-fast: $(DEV_STAMP) ## the tests that need no Kafka, in seconds
	$(RUN) -m pytest tests/core tests/codec tests/partition tests/node tests/replay tests/tidy tests/sim

sim: $(DEV_STAMP) ## the simulator: two thousand clusters under chaos, each IO failed in turn
	$(RUN) -m tests.sim.run

mutants: $(DEV_STAMP) ## the simulator with a bug planted: each must be noticed
	$(RUN) -m tests.sim.run --all-mutants

it: $(DEV_STAMP) kafka-jars ## contract and integration tests on a real Kafka
	$(RUN) -m pytest tests/contract tests/integration

chaos: $(DEV_STAMP) kafka-jars ## kill, freeze, damage and delay: 8 minutes of faults on a Kafka of three brokers
	$(RUN) -m tests.chaos.run

chaos-slice: $(DEV_STAMP) kafka-jars ## two minutes of the same, one fault of each of six kinds
	$(RUN) -m pytest -m chaos tests/chaos

bench: $(DEV_STAMP) kafka-jars ## all workloads and their floors, on a real Kafka; BENCH='--help' says what else
	$(RUN) -m bench $(BENCH)

demo: $(ENGINE_STAMP) ## a workflow from start to end
	$(RUN) -m examples.demo

kafka: $(KAFKA_STAMP) ## start a Kafka on localhost:9092 in the background; data in .kafka
	$(RUN) -m ops.kafka up

kafka-down: $(KAFKA_STAMP) ## stop it; its data stays
	$(RUN) -m ops.kafka down

clean: ## stop Kafka; delete .venv, caches and all local data
	@if [ -d .kafka ] && [ -x $(RUN) ]; then $(RUN) -m ops.kafka down; fi
	rm -rf $(VENV) .kafka .engine .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf dist build *.egg-info bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Fetched here, where the progress is seen, and not inside the first test that needs it.
kafka-jars: $(DEV_STAMP)
	@$(RUN) -m ops.kafka fetch

# Order only, for the stamps carry the dates: a Python older than pyproject.toml is no reason to start anew.
$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or later is needed, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1):" \
	    "name a newer one by PYTHON=, as in: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "error: '$(PYTHON)' lacks venv: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade 'pip>=25.1'

$(ENGINE_STAMP): pyproject.toml | $(RUN)
	$(RUN) -m pip install --quiet --editable .
	@touch $@

$(KAFKA_STAMP): pyproject.toml | $(RUN)
	$(RUN) -m pip install --quiet --editable . --group kafka
	@touch $(ENGINE_STAMP) $@

$(DEV_STAMP): pyproject.toml | $(RUN)
	$(RUN) -m pip install --quiet --editable . --group dev
	@touch $(ENGINE_STAMP) $(KAFKA_STAMP) $@
