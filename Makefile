# The front door: every target sets up .venv first (instantly when nothing changed), and passes ARGS on.
#   make demo ARGS="--once --seed 7"

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak bench check format lock clean
SHELL := /bin/sh
BIN := .venv/bin
UV ?= $(shell command -v uv || echo .venv/uv/bin/uv)
ARGS ?=
# Container images often set it. The programs are started again and again, by the tests some hundred times: without
# compiled modules each start compiles the whole platform anew, which takes longer than all the rest of it.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## make .venv ready; the other targets do it themselves
	@.ci/setup

demo: setup ## run the whole story with live progress and leave the pages up until Ctrl-C
	@$(BIN)/fieldproof demo $(ARGS)

test: setup ## run the test suite
	@$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

soak: setup ## kill the real server under load 1,000 times and look for everything it had acknowledged
	@$(BIN)/fieldproof soak $(ARGS)

bench: setup ## measure one part beside its own limit; without ARGS, list the parts
	@$(BIN)/fieldproof bench $(ARGS)

check: ## the quick checks: format, lint, types, import contract, unit tests
	@.ci/run fast

format: setup ## format the code and apply the linter's safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(if $(findstring .venv/,$(UV)),$(UV)) ## pin and hash the dependencies again; ARGS=--upgrade takes newer ones
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --group dev \
		--custom-compile-command "make lock" $(ARGS) pyproject.toml -o requirements.txt

.venv/uv/bin/uv: | setup
	@$(BIN)/python -m venv .venv/uv
	@.venv/uv/bin/python -m pip install --quiet uv

clean: ## remove .venv and the caches; data under var/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov dist
