# The commands of a developer; `make help` lists them.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
SDKS := tests/clients/node_modules/.ready
BROWSER := tests/console/browser/node_modules/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run up status down test test-all test-faults test-clients test-console test-nightly torture chaos bench plots lint lint-deploy test-deploy dashboards metrics-page dashboard-picture console-pictures audit format lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' \
		| awk -F'\t' '{ printf "  \033[36m%-17s\033[0m %s\n", $$1, $$2 }'

setup: $(READY) ## Create the virtual environment with all dependencies, pinned by hash

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("merganser needs Python 3.11 or newer: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY) ## Start everything, play the demo story, show a live view (ARGS=--exit stops after the story)
	@$(BIN)/merganser run $(ARGS)

up: $(READY) ## Start everything in the background
	@$(BIN)/merganser up

status: $(READY) ## Show what runs in the background
	@$(BIN)/merganser status

down: $(READY) ## Stop what runs in the background
	@$(BIN)/merganser down

# MERGANSER_TEST_LOCALE=en_US.UTF-8 gives the Postgres that the tests start glibc's locale.
PYTEST := $(BIN)/python -m pytest --numprocesses 3 --dist worksteal
# Without a cache of bytecode, each worker compiles all tests, and each process all of our code.
test test-all test-faults: export PYTHONDONTWRITEBYTECODE =

test: $(READY) ## Run the tests on a real Kafka and Postgres, about 6 minutes on 2 cores (ARGS=... goes to pytest)
	$(PYTEST) $(ARGS)

test-all: $(READY) ## Run `test` with all examples, the slow tests and the fault tests, about 15 minutes (ARGS=...)
	HYPOTHESIS_PROFILE=full $(PYTEST) --timeout 600 -m "not clients and not console and not faults and not bench and not deploy" $(ARGS)
	@$(MAKE) --no-print-directory test-faults

test-faults: $(READY) ## Break servers, processes and networks under load, then compare every row (ARGS=...)
	$(PYTEST) --timeout 300 -m faults $(ARGS)

test-clients: $(READY) $(SDKS) ## Run the real clients of other systems and ours against the stack
	$(BIN)/python -m pytest clients/python
	cd clients/javascript && npm install --no-package-lock --no-audit --no-fund --loglevel error && npm test
	$(BIN)/python -m pytest -m clients tests/clients $(ARGS)

$(SDKS): tests/clients/requirements.lock tests/clients/package.json
	@command -v npm >/dev/null || { echo "test-clients needs Node 20 or newer with npm"; exit 1; }
	$(PYTHON) -m venv tests/clients/.venv
	tests/clients/.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/clients/requirements.lock
	cd tests/clients && npm install --no-package-lock --no-audit --no-fund --loglevel error
	command -v chromium || { apt-get update --quiet && apt-get install --yes --no-install-recommends chromium; } \
		|| echo "no Chromium could be installed: the tests in browsers are skipped, and say so"
	@touch $@

test-console: $(READY) $(BROWSER) ## Use the console in a real browser, with axe-core
	$(BIN)/python -m pytest -m console tests/console $(ARGS)

$(BROWSER): tests/console/browser/package.json
	@command -v npm >/dev/null || { echo "test-console needs Node 20 or newer with npm"; exit 1; }
	cd tests/console/browser && npm install --no-package-lock --no-audit --no-fund --loglevel error
	command -v chromium || { apt-get update --quiet && apt-get install --yes --no-install-recommends chromium; } \
		|| echo "no Chromium could be installed: the tests in browsers are skipped, and say so"
	@touch $@

test-deploy: $(READY) deploy/tools/.ready ## Test deploy/: steps of the image, chart, a pooler, each query on a real Prometheus
	@PATH="$$PATH:/usr/sbin"; { command -v prometheus && command -v pgbouncer; } >/dev/null || { echo "test-deploy needs prometheus and pgbouncer: installing Debian's"; \
		apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends prometheus pgbouncer; }
	$(BIN)/python -m pytest -m deploy tests/deploy $(ARGS)

test-nightly: $(READY) ## Test identity with 50,000 random histories, and isolation with 10,000 sets of hostile events
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest --timeout 14400 tests/identity/test_plan.py tests/identity/test_forgetting.py tests/isolation tests/properties/test_hostile.py tests/decoration/test_hostile_values.py $(ARGS)

chaos: $(READY) ## Break everything under load, then prove that nothing was lost (ARGS="--seconds 600 --seed 1")
	@$(BIN)/python -m tests.chaos $(ARGS)

torture: override ARGS := --torture $(ARGS)
torture: chaos ## Run `chaos` with --torture: short random histories, killed processes (ARGS="--seed 1 --runs 50")

bench: $(READY) ## Measure each part and its ceiling, about 45 minutes (ARGS=NAME for one, ARGS=--quick to try)
	$(BIN)/python -m dev.bench $(ARGS)

plots: $(READY) ## Update docs/performance.md and its plots (RESULTS=FILE of bench --save)
	$(BIN)/python -m dev.bench report $(RESULTS)

lint: $(READY) ## Check style, types, banned words and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd clients/python && ../../$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m dev.words

audit: $(READY) ## Look up known vulnerabilities of all dependencies (needs a network)
	$(BIN)/python .ci/audit.py requirements.lock requirements-dev.lock deploy/requirements.lock tests/clients/requirements.lock

lint-deploy: deploy/tools/.ready ## Check image, Compose, chart, rules (needs Go; installs helm, kubeconform, promtool)
	bash deploy/lint.sh

deploy/tools/.ready: deploy/tools/install.sh deploy/tools/schemas.py deploy/tools/requirements.lock
	PYTHON=$(PYTHON) bash deploy/tools/install.sh
	@touch $@

dashboards: $(READY) ## Write the dashboards of Grafana from the code
	$(BIN)/python -m deploy.grafana

metrics-page: $(READY) ## Write docs/metrics.md from the code, the dashboards and the alerts
	$(BIN)/python -m deploy.metrics_page

dashboard-picture: $(READY) ## Draw the main dashboard from a run of the stack that `make up` started (ARGS="--minutes 8")
	$(BIN)/python -m deploy.grafana.picture docs/dashboard.svg $(ARGS)

console-pictures: $(READY) $(BROWSER) ## Take the pictures of docs/console.md from a run of the local stack
	$(BIN)/python -m dev.console_pictures docs

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## Pin all dependencies again, by hash, for every platform (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-annotate pyproject.toml --extra tracing -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-annotate pyproject.toml --extra local --extra tracing --group dev \
		-o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-annotate -c requirements.lock pyproject.toml --extra tracing \
		-o deploy/requirements.lock
	echo 'setuptools>=77' | uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --no-annotate - -o deploy/build.lock
	cd deploy/tools && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate requirements.in -o requirements.lock
	cd tests/clients && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate requirements.in -o requirements.lock

clean: ## Delete the environment, the caches and the data of the local stack
	-@[ ! -x $(BIN)/merganser ] || $(BIN)/merganser down --wipe
	rm -rf deploy/tools/.ready deploy/tools/.venv deploy/tools/bin deploy/tools/schemas deploy/tools/rendered
	rm -rf tests/clients/.venv tests/clients/node_modules clients/javascript/node_modules tests/console/browser/node_modules
	rm -rf $(VENV) .merganser .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
