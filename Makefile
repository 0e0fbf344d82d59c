# SPDX-License-Identifier: Apache-2.0
# Everything a newcomer needs is one word: `make demo`, `make test`, `make chat`.
# Each sets itself up first, in .venv, with nothing but Python 3.11 or newer and pip.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python

# The stamp carries the directory and the date carries the two files that say what to install: a checkout
# that was moved, or whose dependencies changed, sets itself up again; any other does not wait.
STAMP := $(VENV)/.ready-$(shell pwd -P | cksum | cut -d' ' -f1)

# The demo's and the tests' models are small: on a busy machine a second thread makes them several times slower, on
# a quiet one a third faster. The chat decides by the size of its base, the benchmarks take what there is.
# OMP_NUM_THREADS set by you wins.
ifndef OMP_NUM_THREADS
demo test test-all test-slow doctest check: export OMP_NUM_THREADS := 1
endif
# A tokenizer that forks would only warn about it.
export TOKENIZERS_PARALLELISM := false

PYTEST_ARGS ?=
BENCH_ARGS ?= --quick
BENCHMARKS ?= step batch ledger
# Transcripts of users that the learning benchmark lives through (form: CONTRIBUTING.md).
USERS ?=
CHAT_ARGS ?=
DEMO_ARGS ?=

.PHONY: help setup demo chat test test-all test-slow check lint format format-check types imports sizes doctest \
        bench proto proto-check vectors dist clean distclean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

setup: $(STAMP)  ## make .venv with everything in it (the others do this by themselves)

$(STAMP): pyproject.toml constraints.txt
	@python=; \
	for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'error: Ipse needs Python 3.11 or newer and found none.' >&2; \
	  echo 'hint: install it, for example with `apt-get install python3 python3-venv`, and run make again.' >&2; \
	  exit 1; \
	fi; \
	if ! [ -x $(PYTHON) ] || ! $(PYTHON) -c 'import pip' >/dev/null 2>&1; then \
	  echo "Making $(VENV) with $$($$python --version) ..."; \
	  $$python -m venv --clear $(VENV) || { \
	    echo 'hint: this Python lacks its venv module; `apt-get install python3-venv` adds it.' >&2; exit 1; }; \
	fi
	@echo 'Installing what constraints.txt pins; the first time takes a few minutes ...'
	@# torch first: it is nine tenths of the download, and alone it says at once whether this machine can have it.
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: $(STAMP)  ## two people, one base: watch two forks learn, restart, and still be themselves
	$(BIN)/ipse demo $(DEMO_ARGS)

chat: $(STAMP)  ## talk to a fork of your own
	@$(BIN)/ipse chat $(CHAT_ARGS)

test: $(STAMP)  ## the tests, no network, a minute or two
	$(PYTHON) -m pytest -m "not slow and not gpu and not online" $(PYTEST_ARGS)

test-all: $(STAMP)  ## the slow tests too; those that need a GPU or the network skip themselves
	$(PYTHON) -m pytest $(PYTEST_ARGS)

test-slow: $(STAMP)  ## only the slow ones: crashes, faults, journeys
	$(PYTHON) -m pytest -m "slow and not gpu and not online" $(PYTEST_ARGS)

check: lint format-check types imports sizes proto-check vectors doctest test  ## all that CI checks

lint: $(STAMP)
	$(BIN)/ruff check .

format: $(STAMP)  ## put the source into its one form
	$(BIN)/ruff format .
	$(BIN)/ruff check --select I --fix .

format-check: $(STAMP)
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports --no-logo

sizes: $(STAMP)
	$(PYTHON) tools/sizes.py

doctest: $(STAMP)
	$(PYTHON) -m pytest --quiet --doctest-modules src/ipse

bench: $(STAMP)  ## the benchmarks, quick form (BENCH_ARGS= for the full one); with USERS=FILE learning too
	@for name in $(BENCHMARKS); do \
	  echo "== benchmarks/$$name.py $(BENCH_ARGS)"; $(PYTHON) benchmarks/$$name.py $(BENCH_ARGS) || exit 1; \
	done
	$(if $(USERS),$(PYTHON) benchmarks/learning.py --users $(USERS) $(BENCH_ARGS))

proto: $(STAMP)  ## regenerate the code of the .proto files
	$(PYTHON) tools/generate.py proto

proto-check: $(STAMP)
	$(PYTHON) tools/generate.py proto --check

vectors: $(STAMP)  ## regenerate the frozen test inputs, and fail if one changed
	$(PYTHON) tools/generate.py vectors --check

dist: $(STAMP)  ## wheel and source archive, in dist/
	rm -rf dist
	$(PYTHON) -m build --no-isolation --outdir dist .

clean:  ## remove what was built; keep .venv
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf $(VENV)
