# Nahuo: `make demo` shows it, `make check` and `make test` prove it. Every target prepares .venv itself.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.nahuo-installed
PACKAGES := sync_core trade printer server clients nahuo bench proof
SEED ?= 1
DEMO ?=
TESTS ?= tests
PYTEST_FLAGS ?=
WORKERS ?= 2
PROOF ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format sim bench proof proof-short lock examples clean

help: ## say what each target does
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## prepare .venv from requirements.lock (quick when nothing changed)

# The lock is installed with its hashes, then the project itself, editable, without asking for anything more. All of it is compiled at
# once: where the environment forbids bytecode to be written, each start of each program would compile its sources again.
$(STAMP): requirements.lock pyproject.toml
	@set -eu; \
	python=""; \
	for candidate in "$${PYTHON:-}" python3.11 python3.12 python3.13 python3; do \
		if [ -n "$$candidate" ] && "$$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			python="$$candidate"; break; \
		fi; \
	done; \
	if command -v uv >/dev/null 2>&1; then \
		[ -x $(BIN)/python ] || uv venv --python "$${python:-3.11}" $(VENV); \
		uv pip sync --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock; \
		uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		if [ -z "$$python" ]; then \
			echo "Nahuo needs CPython 3.11 or newer with its venv module (Debian: apt-get install python3 python3-venv)." >&2; \
			echo "Name it when it is not on the PATH: make setup PYTHON=/where/it/is/python3" >&2; \
			exit 2; \
		fi; \
		echo "preparing $(VENV): a minute or two"; \
		[ -x $(BIN)/python ] || "$$python" -m venv $(VENV) || { \
			rm -rf $(VENV); \
			echo "$$python cannot make a virtual environment (Debian: apt-get install python3-venv)." >&2; exit 2; }; \
		$(BIN)/python -m pip install -qq --require-hashes -r requirements.lock; \
		PYTHONWARNINGS=ignore $(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .; \
	fi; \
	$(BIN)/python -m compileall -q $(PACKAGES); \
	touch $(STAMP)

demo: setup ## one market day on this machine: two phones, a terminal, printers, a merchant (DEMO="--fresh")
	@$(BIN)/nahuo demo $(DEMO)

test: setup ## all tests, two at a time (TESTS=tests/unit for a part, PYTEST_FLAGS=-x, WORKERS=0 for one process)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_FLAGS) $(TESTS)

check: setup ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests examples
	$(BIN)/pyright
	$(BIN)/lint-imports

format: setup ## put every source file into the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sim: setup ## one seeded run of the simulator: make sim SEED=7
	$(BIN)/nahuo sim --seeds $(SEED)

bench: setup ## measure and print the figures beside the budgets; writes out/bench.json
	@mkdir -p out
	$(BIN)/nahuo bench --json out/bench.json

proof: setup ## every proof at depth, unattended, for hours; writes docs/proof.md (PROOF="kills power" for a part, "--resume")
	$(BIN)/python -m proof $(PROOF)

proof-short: setup ## the short form of every proof, as every push runs it
	$(BIN)/python -m proof --short $(PROOF)

examples: setup ## write the files of examples/ again from their seed
	$(BIN)/python examples/make_examples.py

lock: ## resolve pyproject.toml into requirements.lock again (needs uv)
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	"$$uv" pip compile --extra dev --extra postgresql --generate-hashes --no-emit-index-url --no-emit-find-links \
		--python-version 3.11 --universal --quiet --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean: ## remove what was built here; keeps demo-data/
	rm -rf $(VENV) build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
