# `make` lists the targets. Each sets up what it needs by itself, in .venv, from requirements.lock.

VENV ?= .venv
READY := $(VENV)/.ready
# The first Python that TensorFlow 2.21 has wheels for; `make PYTHON=...` chooses another.
PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,\
	$(shell $(python) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit(1)' 2>/dev/null && echo $(python))))
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run lab lab-docker test bench notebooks-record lint format lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## make the environment in .venv (every target does so by itself)

run: $(READY)  ## execute the notebooks into a run in results/, with a report (ARGS="--only 02 -p epochs 3" to change it)
	$(VENV)/bin/mnist run $(ARGS)

lab: $(READY)  ## open JupyterLab in this environment, without Docker
	@[ -e work/results ] || ln -sfn ../results work/results
	cd work && PATH="$(abspath $(VENV))/bin:$$PATH" && ../docker/copy-notebooks && \
	JUPYTER_CONFIG_PATH="$(CURDIR)/docker/jupyter" jupyter lab --ServerApp.root_dir="$(CURDIR)/work" $(ARGS)

lab-docker:  ## open JupyterLab in a container, with windows on your screen (needs Docker; docker/lab --help tells the rest)
	docker/lab

test: $(READY)  ## run the tests; needs no MNIST and no network (ARGS="-k name" to choose)
	$(VENV)/bin/python -m pytest -m "not mnist and not root and not browser and not image and not kills and not pictures and not pages and not notebooks" $(ARGS)

bench: $(READY)  ## measure training: its time beside two earlier systems, its accuracy, its start (short form; needs MNIST)
	$(VENV)/bin/python -m benchmarks.train_speed --short
	$(VENV)/bin/python -m benchmarks.accuracy fast --seeds 3
	$(VENV)/bin/python -m benchmarks.start_up --repeats 1

notebooks-record: $(READY)  ## execute the copies in tests/notebooks again and keep what they print (ARGS=02,03 to choose)
	$(VENV)/bin/python -m tests.notebooks.record $(ARGS)

lint: $(READY)  ## check style, types, the layers and spelling
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/codespell

format: $(READY)  ## put the code into the project's style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

EXPORT := --quiet --no-emit-project --no-header --no-annotate
lock: $(READY)  ## solve the dependencies again into requirements.lock and the images' own locks, with the newest versions
	$(VENV)/bin/uv export $(EXPORT) --all-extras --no-extra trackers --output-file requirements.lock
	$(VENV)/bin/uv export $(EXPORT) --all-extras --no-extra dev --no-extra trackers --output-file docker/lab.lock
	$(VENV)/bin/uv export $(EXPORT) --extra serve --output-file docker/serve.lock
	awk '/^[a-z]/ { on = /^(uv|setuptools)==/ } on' requirements.lock > docker/tools.lock
	rm uv.lock

clean:  ## remove the environment and the caches (results/ stays)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info

# pip installs the lock's own uv, and uv the rest: ten times faster than pip, and it compiles the bytecode on
# all cores, without which the first `import tensorflow` takes a minute.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "make: $(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	awk '/^[a-z]/ { on = /^uv==/ } on' requirements.lock > $(VENV)/uv.lock
	$(VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r $(VENV)/uv.lock
	VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation -C editable_mode=compat -e .
	@touch $@
