# `make demo` tells the story, `make test` proves it; both set up what they need.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-full bench lock clean

VENV := .venv/bin
STAMP := .venv/.setup
CODE := $(wildcard src tests bench requirements)
FAST_TESTS := $(wildcard tests/unit tests/vectors)
TEST_SECONDS_MAX := 600 # the promise of at most 10 minutes; a test that hangs must not hang whoever waits for it

# pytest's exit code 5 says that nothing was selected, which is no failure.
PYTEST = run() { "$$@"; code=$$?; [ $$code -eq 5 ] && code=0; return $$code; }; run
# A file of journeys shares an installation, so one worker runs it (tests/conftest.py).
PARALLEL := -n 2

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: $(STAMP) ## make .venv with .venv/bin/sekisho; quick when nothing changed

$(STAMP): requirements/lock.txt pyproject.toml requirements/setup
	@requirements/setup
	@touch $@

demo: setup ## a story with real processes; ARGS=--once tells it and exits
	@$(VENV)/sekisho demo $(ARGS)

check: setup ## style, types, layers, unit tests and vectors
	$(VENV)/ruff check $(CODE)
	$(VENV)/ruff format --check $(CODE)
	$(VENV)/mypy
	$(VENV)/lint-imports
	@$(PYTEST) $(VENV)/pytest -q $(PARALLEL) -m "not long" $(FAST_TESTS)

test: setup ## all tests but the long ones, at most 10 minutes
	@requirements/system-packages strace=strace chromium=chromium chromedriver=chromium-driver || true
	@requirements/node-packages || true
	@$(PYTEST) timeout --signal=INT --kill-after=30 $(TEST_SECONDS_MAX) $(VENV)/pytest -q $(PARALLEL) -m "not long" tests $(ARGS)

test-full: setup ## all tests, the long ones too
	@requirements/system-packages strace=strace chromium=chromium chromedriver=chromium-driver
	@requirements/system-packages go=golang-go /usr/share/gocode/src/golang.org/x/mod=golang-golang-x-mod-dev || true
	@requirements/node-packages
	@$(PYTEST) $(VENV)/pytest -q $(PARALLEL) tests $(ARGS)

bench: setup ## measure, the gateway beside nginx; ARGS=publisher (decide, …) runs one of bench/
	@requirements/system-packages wrk=wrk nginx=nginx-light
	$(VENV)/python -m bench $(ARGS)

# Settings that add package sources on this machine must not get into the lock, so pip doesn't see them.
lock: setup ## resolve requirements/lock.txt anew; ARGS=--upgrade takes newer versions
	@test -x build/lock/bin/pip-compile || { $(VENV)/python -m venv build/lock && build/lock/bin/pip install -qq pip-tools; }
	$(VENV)/python requirements/inputs.py > build/lock/requirements.in
	env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null build/lock/bin/pip-compile \
	  build/lock/requirements.in --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --no-emit-options --output-file requirements/lock.txt $(ARGS)

clean: ## remove what was made, .venv too
	rm -rf .venv build dist demo-data tests/oidc_provider/node_modules .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests $(wildcard bench) -name __pycache__ -type d -prune -exec rm -rf {} +
