# Two commands: `make demo` runs the main job, `make test` runs every test. VENV=path shares an environment.
VENV ?= .venv
PYTHON ?= python3
WORKERS ?= 3
RUNS ?= 2000
SEED ?= 1
DIR ?=
BIN := $(VENV)/bin
# Whole files go to one worker, because their tests share servers and models. Three workers keep two cores busy, because
# tests often wait for servers.
PYTEST := --numprocesses $(WORKERS) --dist loadfile
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: demo demo-model test check format docs fuzz bench bench-docs check-media clean install

demo: install
	@$(BIN)/python -m nightreel.cli demo

# Trains the committed demo model again, in some 45 minutes on two cores. The next call continues an interrupted one.
demo-model: install
	$(BIN)/python -m nightreel.demo.training build/demo-model nightreel/models/checkpoints/demo

test: install
	$(BIN)/python -m pytest $(PYTEST)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(PYTEST)

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Writes docs/settings.md and docs/reasons.md from the code.
docs: install
	PYTHONPATH=. $(BIN)/python docs/generate.py

# Mutates videos and tries to decode them: clips in every format and the good clips beside the checkout, or the videos in
# DIR. Each file has a seed, from SEED on. Files that show a problem stay in build/fuzz/kept.
fuzz: install
	PYTHONPATH=.:tests $(BIN)/python -m fuzzing.media --runs $(RUNS) --seed $(SEED) $(if $(DIR),--directory "$(DIR)")

bench: $(patsubst tests/benchmarks/bench_%.py,bench-%,$(wildcard tests/benchmarks/bench_*.py))

bench-docs: install
	PYTHONPATH=.:tests $(BIN)/python -m benchmarks.publish

bench-%: install
	PYTHONPATH=.:tests $(BIN)/python -m benchmarks.bench_$*

# Compares the frames of every file in DIR with those of ffmpeg, which decodes each file from its start.
check-media: install
	@PYTHONPATH=.:tests $(BIN)/python -m truth.check_media "$(DIR)"

install: $(VENV)/.installed

# The stamp names the checkout, because a shared environment points at the one it was last installed from.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nightreel needs Python 3.11 or newer, this is " + sys.version)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): some 7 GB, a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
