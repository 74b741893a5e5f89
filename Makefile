# `make` alone lists the targets. Everything happens in .venv; no system package is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.txt requirements-dev.txt pyproject.toml
STAMP := $(VENV)/.installed-$(shell cat $(LOCK) | cksum | cut -d' ' -f1)

# A file's tests stay together, each process on one core.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo bench test test-all lint format clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##  */\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(STAMP)  ## make .venv with the locked packages (once for each lock)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: setup  ## render examples/ to out/demo.mp4, with a contact sheet out/demo.png
	@mkdir -p out
	$(BIN)/dreampose animate examples/subject.png examples/driving.mp4 \
		--truth examples/truth.mp4 --out out/demo.mp4 --sheet out/demo.png
	@echo "video: out/demo.mp4   contact sheet: out/demo.png"

bench: setup  ## the mannequin benchmark: tables, curves, sheets in data/benchmark/full/table
	$(BIN)/dreampose benchmark

test: setup lint  ## lint, then the tests but those that take minutes each
	$(PYTEST) -m "not long"

test-all: setup lint  ## lint, then all tests
	$(PYTEST)

lint: setup  ## ruff's rules and its layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## lay the code out and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove caches and out/; data/ and .venv stay
	rm -rf out build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
