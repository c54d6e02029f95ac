# Everything runs in a virtual environment made here; the machine needs python3 (3.10 or later) with venv, make, git and gcc.
#   make demo     compile and run a real model          make test     all tests, with the vendors' tools
#   make check    lint, types and package               make clean    remove what these targets made

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Vendor toolchains take gigabytes and minutes: they are shared by all checkouts.
export UAIR_VENDOR_HOME ?= $(or $(UAIR_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/uair)/vendor
VENDORS := rknn $(patsubst tools/vendor/%.sh,%,$(wildcard tools/vendor/*.sh))
# More arguments for pytest: make test ARGS="-k conv -x"
ARGS ?=
# Unit tests share the cores; more than eight processes wait for each other and need gigabytes.
PARALLEL := -n logical --maxprocesses 8 --dist worksteal

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
INPUTS := pyproject.toml setup.py uair/_version.py

.DELETE_ON_ERROR:
.PHONY: help docs demo test test-unit test-frontends test-vendor vendor-rknn lint format types package check clean

help:
	@sed -n '2,3s/^#//p' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and f"UAIR needs Python 3.10 or later, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)

$(DEMO): $(INPUTS) | $(BIN)/python
	@echo "Installing UAIR into $(VENV) (about a minute the first time)"
	$(PIP) install -e '.[cpu,image]'
	@touch $@

$(DEV): $(INPUTS) | $(BIN)/python
	@echo "Installing UAIR and its development tools into $(VENV) (one or two minutes the first time)"
	$(PIP) install -e '.[dev]'
	@touch $@

# Idle threads of NumPy's BLAS sleep instead of spinning, as in the uair command.
demo: export OPENBLAS_THREAD_TIMEOUT ?= 4
demo: $(DEMO)
	$(BIN)/python examples/demo.py

test: test-unit test-frontends test-vendor

test-unit: $(DEV)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "not vendor" $(PARALLEL) $(ARGS)

# The frontends beside PyTorch, TensorFlow and LiteRT, with the Python of tools/vendor/frameworks.sh
test-frontends: vendor-frameworks
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2 $(UAIR_VENDOR_HOME)/frameworks/bin/python -m pytest tests/frameworks $(PARALLEL) $(ARGS)

# Each tools/vendor/NAME.sh installs one vendor's tools into the virtual environment it is given; tests marked `vendor`
# find it as $UAIR_VENDOR_HOME/NAME. It is installed again only when the script changes.
test-vendor: $(DEV) $(addprefix vendor-,$(VENDORS))
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m vendor -n 2 --dist loadscope $(ARGS)

# rknn-toolkit2 runs on Python 3.11 only, which its script looks for.
vendor-rknn: $(DEV)
	@$(BIN)/python tools/rknn_env.py

vendor-%: tools/vendor/%.sh
	@cmp -s $< $(UAIR_VENDOR_HOME)/$*/installed-by.sh || { \
	  set -e; echo "Installing the vendor tools of $* into $(UAIR_VENDOR_HOME)/$*"; \
	  rm -rf $(UAIR_VENDOR_HOME)/$*; $(PYTHON) -m venv $(UAIR_VENDOR_HOME)/$*; \
	  bash $< $(UAIR_VENDOR_HOME)/$*; cp $< $(UAIR_VENDOR_HOME)/$*/installed-by.sh; }

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tools.check_tree rules
	$(BIN)/python -m tools.generate_docs --check

# The pages of docs/ that are made from the code
docs: $(DEV)
	$(BIN)/python -m tools.generate_docs

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV)
	$(BIN)/python -m tools.check_tree coverage
	$(BIN)/mypy
	$(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python

package: $(DEV)
	$(BIN)/python -m tools.check_package

check: lint types package

clean:
	rm -rf .venv .cache .stamps build dist uair.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
