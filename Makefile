# Everything a fresh machine needs is here: Python >= 3.11, gcc, g++ and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := CMakeLists.txt $(wildcard src/rankconv/native/*)
# An editable install knows the modules that were there: a folder changes when one joins or leaves.
FOLDERS := $(shell find src/rankconv -type d -not -name __pycache__)
DEMO ?= runs/demo
# One thread each for the numeric libraries: tests run side by side, timings are stated.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help install demo test test-long lint types docs docs-serve bench-paper bench-filter bench-compress sanitize browser clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 16

install: $(VENV)/.installed ## make .venv and install everything

$(VENV)/.installed: pyproject.toml constraints.txt tools/install.py $(NATIVE) $(FOLDERS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python tools/install.py
	touch $@

demo: install ## run the paper's experiment, shortened, and write its report
	$(BIN)/rankconv reproduce --out $(DEMO) --epochs 5 --naive-images 200 --force
	@echo
	@echo "Open this file in a browser: $(abspath $(DEMO))/report/report.html"

test: install ## run the whole test suite
	$(BIN)/pytest -n 2 -m "not long" $(ARGS)

test-long: install ## run the longer checks too
	$(BIN)/pytest -n 2 $(ARGS)

lint: install ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy, strict
	$(BIN)/mypy

docs: install ## build the documentation into site/
	$(BIN)/mkdocs build --strict

docs-serve: install ## show the documentation while writing it
	$(BIN)/mkdocs serve

bench-paper: install ## time the paper's test loop against PyTorch and ONNX Runtime
	$(BIN)/python benchmarks/paper.py $(ARGS)

bench-filter: install ## time the filters against OpenCV, Intel IPP, Halide, numba and others
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r benchmarks/peers.txt
	$(BIN)/python benchmarks/filter.py $(ARGS)

bench-compress: install ## compress trained networks and compare them with the originals
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r benchmarks/nets/requirements.txt
	$(BIN)/python benchmarks/compress.py $(ARGS)

sanitize: install ## the C++ kernels under the address, undefined and thread sanitizers
	$(BIN)/python -m pip install -q --disable-pip-version-check cmake
	PATH="$(abspath $(BIN)):$$PATH" JOBS=2 sh tests/sanitize.sh $(or $(CASES),200)

browser: ## install the browser that the report is tested in (Debian; needs root)
	apt-get update -qq && apt-get install -y -qq chromium >/dev/null

clean: ## remove what was built, but no runs
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache $(VENV)
