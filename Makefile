# `make demo` shows the whole path on real images; `make test` runs the tests. Both make .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
EXTRAS ?= train,nvrtc,dev

.PHONY: demo test test-all check format docs gate fuzz clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not gpu"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed
	$(BIN)/python -m bnncc.frontend.error_pages docs/errors

# Writes the machine code of every kernel as a table; look at its difference before you commit it.
gate: $(VENV)/.installed
	$(BIN)/python -m tests.codegen.cuda.machine_code

# Hostile arguments to the generated C until FUZZ_SECONDS are over; needs clang.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.installed
	$(BIN)/python -m tests.fuzz.build build/fuzz
	mkdir -p build/fuzz/corpus
	cd build/fuzz && ./fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=4096 corpus

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[$(EXTRAS)]"
	touch $@
