# Set-up: `make demo` and `make test` are all there is. Each installs what it needs into .venv, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types bench docs clean

demo: .venv/demo.stamp
	$(BIN)/lamella demo

test: .venv/test.stamp
	$(BIN)/python -m pytest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

bench: .venv/test.stamp
	$(BIN)/python benchmarks/overhead.py

docs: .venv/test.stamp
	$(BIN)/python -m pytest tests/test_docs.py -n 0

clean:
	rm -rf .venv dist build

$(BIN)/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/%.stamp: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@
