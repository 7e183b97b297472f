# Two commands: `make demo` runs the main job, `make test` runs every test. VENV=path shares an environment.
VENV ?= .venv
PYTHON ?= python3
WORKERS ?= 3
RUNS ?= 2000
SEED ?= 1
KILLS ?= 100
DIR ?=
TESTS ?=
TARGET ?= cpu
IMAGE ?= nightreel:$(TARGET)
# The environment of vLLM. Tests use it where it is there.
ENGINE ?= build/engine
export TEST_VLLM ?= $(abspath $(wildcard $(ENGINE)))
BIN := $(VENV)/bin
# What looks after the supply of packages has an environment of its own, because nobody needs it to run Nightreel.
SUPPLY := build/supply
LOCK := $(SUPPLY)/bin/uv pip compile --quiet --no-annotate --no-emit-index-url --custom-compile-command "make lock"
LOCK_OURS := $(LOCK) --universal --python-version 3.11
# vLLM has few platforms, so only that of its image.
LOCK_VLLM := $(LOCK) --python-version 3.12 --python-platform x86_64-manylinux_2_39
# Whole files go to one worker, because their tests share servers and models. Three workers keep two cores busy, because
# tests often wait for servers. tests/conftest.py decides which files come first.
PYTEST := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
export PATH := $(abspath $(BIN)):$(PATH)
# Tests start hundreds of commands: each would compile all modules where the environment forbids to keep them compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-model test test-vllm test-lowest check format docs fuzz chaos bench bench-docs bench-peers check-media clean install
.PHONY: lock strings audit image sbom test-image

demo: install
	@$(BIN)/python -m nightreel.cli demo

# Trains the committed demo model again, in some 45 minutes on two cores. The next call continues an interrupted one.
demo-model: install
	$(BIN)/python -m nightreel.demo.training build/demo-model nightreel/models/checkpoints/demo

test: install
	$(BIN)/python -m pytest $(PYTEST)

# The tests that need a real vLLM, which `make test` runs, too, where ENGINE is there: then with one architecture. This
# installs vLLM for CPUs first, some 4 GB, and takes half an hour.
test-vllm: install $(ENGINE)/bin/vllm
	TEST_VLLM="$(abspath $(ENGINE))" TEST_VLLM_ARCHITECTURES=internvl,qwen2_vl,qwen2_5_vl,qwen3_vl,glm4v,llava_onevision,smolvlm \
		$(BIN)/python -m pytest tests/e2e/test_engine.py tests/integration/models/test_engine.py \
		tests/integration/models/test_vllm.py

$(ENGINE)/bin/vllm:
	NIGHTREEL_ENGINE_DIR="$(ENGINE)" $(BIN)/python -m nightreel.cli engine install --cpu

# The tests with the lowest versions that pyproject.toml allows, in an environment of its own: some 7 GB. By hand, before
# a lower bound changes.
test-lowest: $(SUPPLY)/.installed
	$(SUPPLY)/bin/uv venv --quiet --clear --python $(PYTHON) build/lowest
	$(SUPPLY)/bin/uv pip install --quiet --python build/lowest --resolution lowest-direct --editable '.[dev]'
	build/lowest/bin/python -m pytest $(PYTEST) $(TESTS)

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

# Kills the parts of a night at random moments, and checks that nothing is lost, twice, wrong or left behind.
chaos: install
	PYTHONPATH=.:tests $(BIN)/python -m chaos.night --kills $(KILLS) --seed $(SEED)

bench: $(patsubst tests/benchmarks/bench_%.py,bench-%,$(wildcard tests/benchmarks/bench_*.py))

bench-docs: install
	PYTHONPATH=.:tests $(BIN)/python -m benchmarks.publish

# Pixeltable, a side of bench-pipeline, in an environment of its own: it wants other versions than ours. What is not in it,
# such as torch, comes from ours.
bench-peers: install
	$(BIN)/python -m venv build/peers
	build/peers/bin/pip install --quiet "pixeltable>=0.7,<0.8"
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$(build/peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nightreel.pth

bench-%: install
	PYTHONPATH=.:tests $(BIN)/python -m benchmarks.bench_$*

# Compares the frames of every file in DIR with those of ffmpeg, which decodes each file from its start.
check-media: install
	@PYTHONPATH=.:tests $(BIN)/python -m truth.check_media "$(DIR)"

# Writes the versions of all packages to constraints.txt, and those of the images, with hashes, to docker/. Versions stay
# if they fit pyproject.toml; LOCK_FLAGS=--upgrade or LOCK_FLAGS="--upgrade-package torch" takes newer ones.
lock: $(SUPPLY)/.installed
	$(LOCK_OURS) $(LOCK_FLAGS) --all-extras --group supply --group image --output-file constraints.txt pyproject.toml
	$(LOCK_OURS) --extra adapters --generate-hashes --constraint constraints.txt --output-file docker/requirements.txt pyproject.toml
	$(LOCK_OURS) --group image --generate-hashes --constraint constraints.txt --output-file docker/requirements-build.txt
	$(LOCK_VLLM) --generate-hashes --output-file docker/requirements-vllm.txt nightreel/models/engine/requirements-cuda.txt

# Writes new strings of the console to its catalogues, without a translation, and drops those that are gone.
strings: install
	@mkdir -p build
	$(BIN)/pybabel --quiet extract --mapping-file pyproject.toml --no-location --sort-output --output-file build/strings.pot nightreel/console
	$(BIN)/pybabel --quiet update --omit-header --no-fuzzy-matching --ignore-obsolete --no-wrap --locale zh \
		--input-file build/strings.pot --output-file nightreel/console/locales/zh.po

# Known vulnerabilities of all packages in constraints.txt, and ruff's rules, of which S are those of bandit. SECURITY.md
# answers each finding. --strict fails for a package about which the service says nothing: without it, a service that
# cannot be reached would look like a clean result.
audit: install $(SUPPLY)/.installed
	$(BIN)/ruff check .
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt $(AUDIT_FLAGS)

# Builds an image with buildah, podman or docker, whichever works here, or TOOL. BUILD_FLAGS go to the tool.
image:
	@TOOL="$(TOOL)" docker/build.sh $(TARGET) $(IMAGE) $(BUILD_FLAGS)

# Copies the list of what an image contains, in the format CycloneDX, to build/sbom-TARGET.cdx.json.
sbom:
	@mkdir -p build
	@TOOL="$(TOOL)" docker/copy_from_image.sh $(IMAGE) /opt/nightreel/sbom.cdx.json build/sbom-$(TARGET).cdx.json

# Builds the image and tests it: its contents, the demo, and a night with the commands of docker/compose.yaml.
test-image: install image
	NIGHTREEL_TEST_IMAGE=$(IMAGE) $(BIN)/python -m pytest tests/e2e/test_image.py -v

install: $(VENV)/.installed

# The stamp names the checkout, because a shared environment points at the one it was last installed from.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nightreel needs Python 3.11 or newer, this is " + sys.version)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): some 7 GB, a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(SUPPLY)/.installed: pyproject.toml
	@$(PYTHON) -m venv $(SUPPLY)
	@$(SUPPLY)/bin/pip install --quiet --upgrade pip
	@$(SUPPLY)/bin/pip install --quiet --constraint constraints.txt --group supply
	@touch $@

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
