# `make demo` and `make test` work from a bare clone: each sets up what it needs in .venv, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq

ARM    := gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm

# One thread a process: the tests run as many processes as there are cores.
FAST   := tests/unit tests/arch tests/contract tests/parity
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -q

.PHONY: help setup setup-dev demo demo-mcu test lint format unit slow-tests bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "potstill needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml constraints/core.txt
	$(PIP) install --constraint constraints/core.txt --editable .
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints/core.txt constraints/dev.txt
	$(PIP) install --constraint constraints/dev.txt --editable '.[dev,hf,mcu,prune,runtimes,tensorboard,translation]'
	touch $@ $(VENV)/.core $(VENV)/.mcu

$(VENV)/.mcu: $(VENV)/.core constraints/dev.txt
	$(PIP) install --constraint constraints/dev.txt --editable '.[mcu,runtimes]'
	touch $@

setup: $(VENV)/.core ## what running needs, in .venv

setup-dev: $(VENV)/.dev ## what testing needs, in .venv

demo: setup ## distil on the embedded digits data, with every label and with 200; then the student on an emulated Cortex-M4
	$(BIN)/potstill run recipes/digits.yaml
	$(BIN)/potstill run recipes/digits-few-labels.yaml
	@if command -v arm-none-eabi-gcc > /dev/null && command -v qemu-system-arm > /dev/null; then $(MAKE) --no-print-directory demo-mcu; else \
	  echo "The same student as plain C on an emulated Cortex-M4: apt-get install $(ARM), then make demo-mcu"; fi

demo-mcu: $(VENV)/.mcu ## the digits student as plain C on an emulated Cortex-M4
	$(BIN)/potstill run recipes/digits-mcu.yaml
	$(BIN)/potstill verify runs/digits-mcu/c/model.c --data recipes/digits-mcu.yaml --device stm32l4r5

lint: setup-dev ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

unit: setup-dev ## the fast tests only
	$(PYTEST) $(wildcard $(FAST))

slow-tests: setup-dev ## whole runs, faults, examples
	$(PYTEST) tests $(addprefix --ignore=,$(FAST)) --durations=20 --durations-min=10

test: lint unit slow-tests ## every check

bench: setup ## every claim of the README: tables on the terminal, JSON beside them
	for script in $(or $(wildcard benchmarks/*.py),$(error benchmarks/ has no script)); do echo "== $$script"; $(BIN)/python "$$script"; done

docs: setup ## the pages that are generated from the code
	$(BIN)/python scripts/make_reference.py

clean: ## remove .venv, runs and what tools left; never the artifact cache
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
