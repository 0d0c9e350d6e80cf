# `make verify`: set-up, the claims on trial, the report. `make test`: set-up, the project's own tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROFILE ?= laptop
WORKERS ?= 2

# EasyEdit's own environment: where it is built, and a checkout of EasyEdit (fetched if none is named).
EASYEDIT_VENV ?= .venv-easyedit
EASYEDIT ?=
EASYEDIT_COMMIT := 14cea8245f06715684592ab55184939b99d70784
EASYEDIT_PYTHON ?= $(EASYEDIT_VENV)/bin/python

.PHONY: verify test test-capability lint format bench bench-peers easyeditor-env methods-table artefacts clean

verify: $(STAMP)
	$(BIN)/editverdict verify --profile $(PROFILE) -n $(WORKERS)

test: $(STAMP)
	$(BIN)/python -m pytest suites/selftest -q -n 2 --dist worksteal

# Installs the extra `capability` (lm-eval, for the paper's benchmarks) and runs the tests that need it, which `make test`
# skips where it is not installed.
test-capability: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev,capability]'
	$(BIN)/python -m pytest suites/selftest/pipeline/test_lm_eval.py -q -n 0

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What editing and geometry cost, as ratios measured side by side in one run, and how often verdicts are right on
# synthetic worlds; about half an hour. All of them run to their end.
bench: $(STAMP)
	@status=0; for part in run geometry answering verdict_quality ledger; do OMP_NUM_THREADS=1 $(BIN)/python bench/$$part.py || status=1; done; exit $$status

# EasyEdit's ROME, MEMIT and AlphaEdit beside ours; needs EasyEdit's environment (docs/easyedit.md).
bench-peers: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python bench/peers.py --easyedit-python $(EASYEDIT_PYTHON)

# An environment that EasyEdit's current sources run in; it cannot share ours (docs/easyedit.md).
easyeditor-env:
	test -x $(EASYEDIT_VENV)/bin/python || $(PYTHON) -m venv $(EASYEDIT_VENV)
	@echo "installing into $(EASYEDIT_VENV), about a minute and 1.5 GB"
	$(EASYEDIT_VENV)/bin/python -m pip install --disable-pip-version-check -q -r requirements/easyeditor.txt
	@if [ -z "$(EASYEDIT)" ] && [ ! -d $(EASYEDIT_VENV)/EasyEdit ]; then \
		git clone -q https://github.com/zjunlp/EasyEdit $(EASYEDIT_VENV)/EasyEdit \
		&& git -C $(EASYEDIT_VENV)/EasyEdit checkout -q $(EASYEDIT_COMMIT) \
		|| { rm -rf $(EASYEDIT_VENV)/EasyEdit; echo "EasyEdit cannot be fetched here; name a checkout: make easyeditor-env EASYEDIT=path"; exit 1; }; \
	fi
	@$(EASYEDIT_VENV)/bin/python -c 'import pathlib, sys, sysconfig; where = pathlib.Path(sys.argv[1]).resolve(); \
	    sys.exit(f"no easyeditor in {where}") if not (where / "easyeditor").is_dir() else \
	    pathlib.Path(sysconfig.get_path("purelib"), "easyedit.pth").write_text(f"{where}\n")' \
	    "$(if $(EASYEDIT),$(EASYEDIT),$(EASYEDIT_VENV)/EasyEdit)"
	$(EASYEDIT_VENV)/bin/python src/editverdict/editors/foreign/easyedit_worker.py describe
	@echo "now: --easyedit-python $(EASYEDIT_VENV)/bin/python, or EDITVERDICT_EASYEDIT_PYTHON"

# Every method on the default model: hours, resumable; docs/methods.md is this table.
methods-table: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/editverdict methods-table -n $(WORKERS) --out docs/methods.md

# Null models beside the paper's tables, on made-up states and on the default model: minutes; docs/artefacts.md is this page.
artefacts: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/editverdict artefacts --profile laptop --out docs/artefacts.md

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
