# The project's commands. `make demo` and `make test` are all that a newcomer needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench docs lock clean

demo: $(VENV)/installed
	@$(BIN)/scarbon demo

# Debian packages for the tests on real services are installed where this is root and apt is there.
test: $(VENV)/installed
	@tests/install-debian.sh
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In their quick form where they have one; each says what a full run takes.
bench: $(VENV)/installed
	$(BIN)/python benchmarks/accuracy.py --quick
	$(BIN)/python benchmarks/attribution.py --quick
	$(BIN)/python benchmarks/collect.py --quick
	$(BIN)/python benchmarks/ledger.py --quick
	$(BIN)/python benchmarks/restate.py --quick
	$(BIN)/python benchmarks/report.py --quick
	$(BIN)/python benchmarks/jobs_start.py
	$(BIN)/python -m benchmarks.sacct_read
	$(BIN)/python benchmarks/hook_start.py

# What of docs/ is made from the code: anew after a change of the command's options or help.
docs: $(VENV)/installed
	$(BIN)/python -m scarbon man --markdown >docs/cli.md

# Anew after a change of the dependencies in pyproject.toml.
lock: $(VENV)/installed
	$(BIN)/python -m uv pip compile pyproject.toml --extra all --group dev --universal --generate-hashes \
		--no-emit-index-url --no-header --upgrade -q -o requirements.lock

# The environment holds exactly what the lock names; the project itself is installed in place.
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "scarbon needs Python 3.11 or later; set PYTHON=… to one" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
