# Every verb makes what it needs: a fresh machine with make and Python 3.11 or newer is enough.
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKED := $(wildcard src tests benchmarks examples)

.PHONY: help demo test lint types bench costs docs
# two installers in one environment would tread on each other
.NOTPARALLEL:

help:
	@echo "make demo    train a small network on handwritten digits"
	@echo "make test    all tests, doctests included"
	@echo "make lint    ruff: rules and format"
	@echo "make types   mypy, strict"
	@echo "make bench   lamella beside its peers, which it installs; one pair: WORKLOAD=mnist_convnet PEER=torch"
	@echo "make costs   what lamella costs: calls, proofs, gradients by sample, memory; single operations"
	@echo "make docs    run every code block of the documentation"

demo: $(VENV)/.installed-demo
	$(BIN)/lamella demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# all of them write the page anew; a choice only prints
bench: $(VENV)/.installed-peers
ifeq ($(WORKLOAD)$(PEER),)
	$(BIN)/python -m benchmarks.speed --json benchmarks/speed.json --page docs/speed.md
else
	$(BIN)/python -m benchmarks.speed $(if $(WORKLOAD),--workload $(WORKLOAD)) $(if $(PEER),--peer $(PEER))
endif

costs: $(VENV)/.installed-test
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/per_sample.py
	$(BIN)/python benchmarks/rows.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/export.py
	$(BIN)/python -m benchmarks.files

docs: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/test_docs.py

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lamella needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# one stamp for each extra: installed again only when pyproject.toml changes
$(VENV)/.installed-%: pyproject.toml | $(VENV)/.created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
