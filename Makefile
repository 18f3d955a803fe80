# Every task of a contributor, and the demo. `make help` lists them.
#
#   PYTHON    the interpreter that makes the environment (3.11 or newer)
#   VENV      where the environment is; one that you made yourself is used as it is
#   PIP_ARGS  further options of pip install, e.g. an index with other builds of torch

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PROMPT ?= a panda dancing on a blue background
DEMO_OUT ?= demo
PYTEST_ARGS ?=
BENCH_ARGS ?=
# The torch that constraints.txt pins; `make constraints TORCH=...` moves it.
TORCH ?= 2.13.0

BIN := $(VENV)/bin
PY := $(BIN)/python
SOURCES := $(wildcard src tests recipes benchmarks experiments)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types layers format pytest house slow gpu browser bench bench-full constraints wheel docs release-check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed-dev  ## make .venv and install everything a contributor needs

demo:  ## install what is needed and generate one video into demo/
	@set -e; start=$$(date +%s); \
	$(MAKE) --no-print-directory $(VENV)/.installed; installed=$$(date +%s); \
	$(BIN)/imagen-video generate "$(PROMPT)" --out "$(DEMO_OUT)" --seed 1; finished=$$(date +%s); \
	echo; echo "installing took $$((installed - start)) s, generating $$((finished - installed)) s"; \
	echo "video: $$(ls -t "$(DEMO_OUT)"/*.mp4 | head -n 1)"; \
	echo "sheet: $$(ls -t "$(DEMO_OUT)"/*.png | head -n 1)"

test: lint types pytest  ## everything that continuous integration runs

lint: $(VENV)/.installed-dev layers  ## style, docstrings, spelling, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell --toml pyproject.toml $$(git ls-files --cached --others --exclude-standard)

layers: $(VENV)/.installed-dev  ## the direction of imports
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev  ## the type checker
	$(BIN)/pyright --pythonpath $(PY)

format: $(VENV)/.installed-dev  ## rewrite the sources in the house format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

pytest: $(VENV)/.installed-dev  ## the tests (PYTEST_ARGS="-k name" for some of them)
	$(PY) -m pytest $(PYTEST_ARGS)

house: $(VENV)/.installed-dev  ## only the tests of the house style
	$(PY) -m pytest tests/house

slow: $(VENV)/.installed-dev  ## the tests that take minutes
	$(PY) -m pytest -m slow $(PYTEST_ARGS)

gpu: $(VENV)/.installed-dev  ## the tests that need an accelerator
	$(PY) -m pytest -m gpu $(PYTEST_ARGS)

browser: $(VENV)/.installed-dev  ## the web page in a real Chromium (apt install chromium)
	$(PY) -m pip install --quiet --constraint constraints.txt $(PIP_ARGS) --editable '.[browser]'
	$(PY) -m pytest -m browser $(PYTEST_ARGS)

# Peers are installed into build/peers-venv, results lie in build/bench; a stopped run keeps them.
# BENCH_ARGS goes to every script, so it holds what every script has: --quick (results go to
# build/bench/quick, and the table is of these), --without-peers, --peers=DIR, --pip-arg=OPTION.
BENCH_TABLE = $(PY) benchmarks/table.py $(filter --quick,$(BENCH_ARGS))

bench: $(VENV)/.installed-dev  ## start-up, networks, data, cascade through ssr1: one table (6 minutes)
	$(PY) benchmarks/startup.py $(BENCH_ARGS)
	$(PY) benchmarks/networks.py $(BENCH_ARGS)
	$(PY) benchmarks/data.py $(BENCH_ARGS)
	$(PY) benchmarks/cascade.py --until ssr1 --runs 5 $(BENCH_ARGS)
	@$(BENCH_TABLE)

bench-full: bench  ## all other benchmarks as well: hours
	$(PY) benchmarks/networks.py --sizes S M L --shape 8x32x32 --out build/bench/networks-8x32x32.json $(BENCH_ARGS)
	$(PY) benchmarks/networks.py --sizes S L --out build/bench/networks-S-L.json $(BENCH_ARGS)
	$(PY) benchmarks/training.py $(BENCH_ARGS)
	$(PY) benchmarks/attention.py $(BENCH_ARGS)
	$(PY) benchmarks/scaling.py $(BENCH_ARGS)
	$(PY) benchmarks/scaling.py --network imagen-pytorch --out build/bench/scaling-imagen-pytorch.json $(BENCH_ARGS)
	$(PY) benchmarks/sampling.py $(BENCH_ARGS)
	$(PY) benchmarks/cascade.py --out build/bench/cascade-whole.json $(BENCH_ARGS)
	@test -d build/teachers || $(PY) recipes/emoji.py --teachers build/teachers
	$(PY) benchmarks/paper_steps.py $(BENCH_ARGS)
	$(PY) benchmarks/tiles.py $(BENCH_ARGS)
	$(PY) benchmarks/memory.py $(BENCH_ARGS)
	$(PY) benchmarks/quality_per_minute.py $(BENCH_ARGS)
	$(PY) benchmarks/quality.py $(BENCH_ARGS)
	$(PY) benchmarks/stages.py $(BENCH_ARGS)
	@$(BENCH_TABLE)

# Resolved anew in an empty environment, so that nothing installed by hand slips in. Local version
# tags (+cpu) and the CUDA packages are cut: which build of torch is taken is the user's choice.
constraints:  ## resolve the dependencies anew and write constraints.txt
	rm -rf build/resolve
	$(PYTHON) -m venv build/resolve
	build/resolve/bin/python -m pip install --quiet $(PIP_ARGS) 'torch==$(TORCH)' '.[dev,browser,ray,wandb]'
	{ echo '# What the tests ran with. Written by `make constraints`; do not edit.'; \
	  build/resolve/bin/python -m pip freeze --exclude imagen-video \
	  | grep -v -i -E '^(nvidia|cuda|triton)' | sed -E 's/\+[A-Za-z0-9.]+$$//'; } > constraints.txt
	rm -rf build/resolve

wheel: $(VENV)/.installed-dev  ## build the wheel into dist/
	$(PY) -m pip wheel --no-deps --wheel-dir dist .

docs: $(VENV)/.installed-dev  ## build the documentation into build/docs, warnings are errors
	$(PY) -m sphinx -b html -W --keep-going -q docs build/docs
	@echo "open build/docs/index.html"

release-check: $(VENV)/.installed-dev  ## build wheel and sdist and use them in a new environment
	$(PY) tools/release_check.py --pip-args "$(PIP_ARGS)"

clean:  ## remove caches and build products (keeps .venv, runs and videos)
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- The environment. Stamp files: installing runs again only when one of these two files changes. ---

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is missing or older than 3.11; name another: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A torch that is there already and satisfies the range is kept: its pin is taken out.
define install
	@if $(PY) -c 'import re, importlib.metadata as m; v = re.findall(r"\d+", m.version("torch")); exit(not (2, 10) <= (int(v[0]), int(v[1])) < (3, 0))' 2>/dev/null; \
	then grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt; \
	else cp constraints.txt $(VENV)/constraints.txt; fi
	$(PY) -m pip install --quiet --constraint $(VENV)/constraints.txt $(PIP_ARGS) --editable '$(1)'
endef

$(VENV)/.installed: pyproject.toml constraints.txt | $(PY)
	$(call install,.)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(PY)
	$(call install,.[dev])
	@touch $(VENV)/.installed $@
