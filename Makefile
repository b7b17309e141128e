# Two commands for everyone: `make quickstart` and `make test`. Both are safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# TORCH=cpu takes torch's CPU build (1.6 GB in all instead of 6.3 GB) from where pip is told to find it: see README.md.
TORCH :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test test-slow lint types bench docs clean

quickstart: $(VENV)/.installed
	$(BIN)/lamm-cl quickstart --out quickstart_results

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; \
	    PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"; \
	    tests=$$?; wait $$types && exit $$tests

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-test
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.speed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is older than 3.11: give another one, as in make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$(PYTHON) has no working venv module (Debian: apt-get install python3-venv)"; exit 1; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing lamm_cl and what it needs into $(VENV): 1.6 to 6 GB, some minutes"
ifeq ($(TORCH),cpu)
	$(PIP) torch torchvision
	@$(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' || { \
	    $(BIN)/python -m pip uninstall --yes --quiet torch torchvision; \
	    echo "pip gave torch with CUDA: say where it finds the CPU build, as in PIP_EXTRA_INDEX_URL=ADDRESS make ..."; \
	    exit 1; }
	@$(BIN)/python -c 'import torchvision' 2>/dev/null || { \
	    $(BIN)/python -m pip uninstall --yes --quiet torch torchvision; \
	    echo "torchvision does not load beside torch: let pip find the CPU builds of both in one place"; exit 1; }
endif
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need"
	$(PIP) --editable ".[test]"
	@touch $@

docs: $(VENV)/.installed
	$(PIP) --editable ".[docs]"
	$(BIN)/python -m benchmarks.reference docs_html

clean:
	rm -rf $(VENV) quickstart_results docs_html
