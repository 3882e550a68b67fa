# Every command a person types. `make` alone lists them.

PYTHON ?= python3
PYTHONS := 3.11 3.12 3.13 3.14
OLDEST_PYTHON := $(firstword $(PYTHONS))
NEWEST_PYTHON := $(lastword $(PYTHONS))
VENV := .venv
BIN := $(VENV)/bin
SUPPLY := build/supply
FLASK := $(BIN)/flask --app api
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help build spark-up spark-down spark-build fetch-fx rejected test test-deep test-spark check-spark serve token docs serve-docs quality query publications history rollback prune bench bench-load bench-api bench-expectations bench-spark lint lock audit check-wheels sample clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(VENV)/installed ## Set up, then build and test everything and show the numbers (ARGS="..." goes to dbt)
	@$(BIN)/python -m warehouse build $(ARGS)

spark-up: $(VENV)/installed-spark ## Start a small Spark cluster on this machine (needs Java 17)
	@$(BIN)/python -m warehouse spark-up $(ARGS)

spark-down: $(VENV)/installed ## Stop the Spark cluster; its tables stay
	@$(BIN)/python -m warehouse spark-down

spark-build: $(VENV)/installed-spark ## As build, on the Spark cluster (WAREHOUSE_SPARK_HOST for one elsewhere)
	@$(BIN)/python -m warehouse spark-build $(ARGS)

fetch-fx: $(VENV)/installed ## Fetch rates of exchange into landing/fx_rates (FREECURRENCYAPI_KEY; ARGS="--from-date 2024-01-01")
	@$(BIN)/python -m warehouse fetch-fx $(ARGS)

rejected: $(VENV)/installed ## Write the rejected rows of a feed, to mend: make rejected FEED=orders (EXCEL=1: safe to open in a spreadsheet)
	@test -n '$(FEED)' || { echo "error: name a feed: make rejected FEED=orders" >&2; exit 2; }
	@$(BIN)/python -m warehouse rejected '$(FEED)' $(if $(EXCEL),--excel)

test: $(VENV)/installed-dev ## Run every test, from scratch, in temporary folders (ARGS="..." goes to pytest)
	@$(BIN)/python -m pytest -n auto --dist worksteal -m 'not spark and not spark_sql and not deep' $(ARGS)

test-deep: $(VENV)/installed-dev ## Run the long tests: fuzzers, and builds that are broken for ten minutes
	@$(BIN)/python -m pytest -m deep $(ARGS)

test-spark: $(VENV)/installed-spark $(VENV)/installed-dev ## Compare builds on DuckDB and on Spark, and break the cluster (needs Java 17)
	@$(BIN)/python -m pytest -m spark $(ARGS)

check-spark: $(VENV)/installed-spark $(VENV)/installed-dev ## Ask Spark whether it understands every model, without a cluster (needs Java 17)
	@$(BIN)/python -m pytest -m spark_sql $(ARGS)

serve: $(VENV)/installed ## Serve the published numbers at http://127.0.0.1:5000 (HOST, PORT, WORKERS)
	@$(FLASK) serve

token: $(VENV)/installed ## Make a token for the API and show how to use it (ARGS="..." goes to tokens create)
	@$(FLASK) tokens create $(ARGS)

publications: $(VENV)/installed ## List the published snapshots
	@$(FLASK) publications list

history: $(VENV)/installed ## List the last builds, also those that published nothing
	@$(FLASK) publications history

rollback: $(VENV)/installed ## Let readers see an older snapshot again: make rollback VERSION=...
	@$(FLASK) publications rollback '$(VERSION)'

prune: $(VENV)/installed ## Remove old snapshots that nobody reads: make prune KEEP=10
	@$(FLASK) publications prune --keep '$(or $(KEEP),10)'

docs: $(VENV)/installed ## Make the documentation, a static site: build/docs/index.html
	@$(BIN)/python -m warehouse docs

serve-docs: $(VENV)/installed ## Serve the documentation on this machine (PORT=8080)
	@$(BIN)/python -m warehouse serve-docs --port $(or $(PORT),8080)

quality: $(VENV)/installed ## Show what was expected of the numbers and what was found
	@$(BIN)/python -m warehouse quality

# The query goes by the environment, as it was typed: neither make nor a shell reads its $$ and quotes.
unexport SQL
query: export WAREHOUSE_SQL = $(value SQL)
query: $(VENV)/installed ## Print the rows of a query: make query SQL="select * from marts.order_kpis" (FORMAT=csv)
	@$(BIN)/python -m warehouse query --format $(or $(FORMAT),table)

bench: $(VENV)/installed-dev ## Measure a whole build against the limit and the usual way (ARGS="--lines 1000000")
	@$(BIN)/python -m benchmarks.warehouse_build $(ARGS)

bench-load: $(VENV)/installed ## Measure how long the landing zone and seeds take to load
	@$(BIN)/python -m benchmarks.landing_load $(ARGS)

bench-api: $(VENV)/installed-dev ## Measure how many requests the API answers (needs wrk)
	@command -v wrk >/dev/null || { echo "Installing wrk (apt-get)"; apt-get install -qq -y wrk >/dev/null; } || { \
		echo "error: wrk is not installed, and apt-get could not do it. As root: apt-get install wrk" >&2; exit 1; }
	@$(BIN)/python -m benchmarks.api_serving $(ARGS)

bench-expectations: $(VENV)/installed ## Measure what expectations add to a build
	@$(BIN)/python -m benchmarks.expectations $(ARGS)

bench-spark: $(VENV)/installed-spark $(VENV)/installed-dev ## Measure the models on a small Spark cluster against DuckDB (needs Java 17)
	@$(BIN)/python -m benchmarks.spark_cluster $(ARGS)

lint: $(VENV)/installed-dev ## Check the style of the Python and the SQL
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint models tests/data

lock: $(SUPPLY)/installed ## Write requirements*.lock anew from requirements*.txt (ARGS=--upgrade takes newer versions)
	@for name in requirements requirements-dev requirements-spark requirements-supply; do \
		beside=$$(test $$name = requirements || echo --constraint requirements.lock); \
		$(SUPPLY)/bin/uv pip compile --quiet --universal --python-version $(OLDEST_PYTHON) --generate-hashes --no-strip-extras \
			--custom-compile-command "make lock" $(ARGS) $$beside $$name.txt --output-file $$name.lock || exit 1; \
	done

audit: $(SUPPLY)/installed ## Ask the package index which pinned packages have known vulnerabilities
	@for name in requirements requirements-dev requirements-spark; do \
		$(SUPPLY)/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off --requirement $$name.lock || exit 1; \
	done

check-wheels: $(SUPPLY)/installed ## Download every pinned package as a wheel, for each Python, on Linux and macOS
	@for python in $(PYTHONS); do \
		for machine in x86_64 aarch64 arm64; do \
			echo "Python $$python, $$machine"; rm -rf $(SUPPLY)/wheels; \
			case $$machine in \
				arm64) platforms="--platform macosx_14_0_arm64";; \
				*) platforms=$$(for tag in _2_28 _2_27 _2_26 _2_24 _2_17 2014; do echo "--platform manylinux$${tag}_$$machine"; done);; \
			esac; \
			$(SUPPLY)/bin/python -m pip download -qq --only-binary=:all: --no-deps --require-hashes \
				--python-version $$python $$platforms --dest $(SUPPLY)/wheels --requirement requirements-dev.lock || exit 1; \
		done; \
	done; rm -rf $(SUPPLY)/wheels

sample: $(VENV)/installed ## Write the sample input anew (seeds/<area>/<feed>.csv)
	@$(BIN)/python seeds/generate_data.py --seed 42

clean: ## Remove the virtual environment and everything that was built
	@test ! -e $(VENV)/installed-spark || $(BIN)/python -m warehouse spark-down
	@rm -rf $(VENV) target logs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find build -mindepth 1 ! -name .gitignore -delete

# ---------------------------------------------------------------- the virtual environment

# A lock holds every package with its hashes; requirements*.txt are what people edit (make lock).

$(VENV)/bin/python:
	@$(PYTHON) -c '' 2>/dev/null || { \
		echo "error: $(PYTHON) is not installed, or does not start. Install Python $(OLDEST_PYTHON) to $(NEWEST_PYTHON), or name one: make build PYTHON=python$(NEWEST_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; low, high = (tuple(map(int, text.split("."))) for text in sys.argv[1:]); sys.exit(not low <= sys.version_info[:2] <= high)' $(OLDEST_PYTHON) $(NEWEST_PYTHON) || { \
		echo "error: Python $(OLDEST_PYTHON) to $(NEWEST_PYTHON) is needed, $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())'). Name another: make build PYTHON=python$(NEWEST_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/installed: requirements.lock | $(VENV)/bin/python
	@echo "Installing requirements.lock into $(VENV) (once, about a minute)"
	@$(BIN)/python -m pip install -qq --require-hashes --requirement requirements.lock
	@touch $@

$(VENV)/installed-spark: requirements-spark.lock $(VENV)/installed
	@echo "Installing requirements-spark.lock into $(VENV) (once, some minutes)"
	@$(BIN)/python -m pip install -qq --require-hashes --requirement requirements-spark.lock
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@echo "Installing requirements-dev.lock into $(VENV) (once, about a minute)"
	@$(BIN)/python -m pip install -qq --require-hashes --requirement requirements-dev.lock
	@touch $@

$(SUPPLY)/installed: requirements-supply.lock | $(VENV)/bin/python
	@$(PYTHON) -m venv $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install -qq --require-hashes --requirement requirements-supply.lock
	@touch $@
