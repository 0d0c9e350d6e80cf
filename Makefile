# `make verify`: set-up, the claims on trial, the report. `make test`: set-up, the project's own tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROFILE ?= laptop
WORKERS ?= 2

.PHONY: verify test lint format clean

verify: $(STAMP)
	$(BIN)/editverdict verify --profile $(PROFILE) -n $(WORKERS)

test: $(STAMP)
	$(BIN)/python -m pytest suites/selftest -q -n 2 --dist load

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The versions are those of constraints.txt; an editable install, so that the checkout is what runs.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), about two minutes and 2.5 GB (more where the index serves a CUDA build of torch)"
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) reports/out build dist
