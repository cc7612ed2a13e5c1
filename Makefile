# SPDX-License-Identifier: Apache-2.0
# From a fresh clone, `make demo` and `make test` each do everything they need, setup included.

VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.lidistill-setup
TEST_JOBS ?= auto
PYTEST_ARGS ?=
# Byte code is kept: without it every process compiles thousands of sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test lint docs bench evidence-slidr mmcv clean

help:
	@echo "make demo            pretrain a LiDAR network from images on the embedded world; ends with a report"
	@echo "make test            run the whole test suite"
	@echo "make lint            ruff and mypy"
	@echo "make docs            build the documentation into docs/_build/html"
	@echo "make bench           measure against the authors' way; writes docs/benchmarks.json"
	@echo "make evidence-slidr  the three-seed table of SLidR; writes docs/evidence/slidr.json"
	@echo "make setup           only set up $(VENV) (the others do it when it is needed)"
	@echo "make mmcv            build compiled mmcv into .venv-mmcv (optional; needs a C++ compiler)"
	@echo "make clean           remove what was built; data/ and work_dirs/ stay"

$(STAMP): setup.py constraints.txt tools/setup_env.sh
	tools/setup_env.sh $(VENV)
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	$(VENV)/bin/lidistill demo

test: $(STAMP)
	$(PY) -m pytest -n $(TEST_JOBS) --dist loadfile $(PYTEST_ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: $(STAMP)
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(STAMP)
	$(VENV)/bin/lidistill bench

evidence-slidr: $(STAMP)
	$(VENV)/bin/lidistill evidence slidr

mmcv:
	tools/build_mmcv_oracle.sh

clean:
	rm -rf $(VENV) .venv-mmcv docs/_build docs/_generated build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find lidistill tests tools configs docs -name __pycache__ -type d -prune -exec rm -rf {} +
