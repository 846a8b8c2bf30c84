# Two commands: `make demo` and `make test`. Each does all the set-up on a fresh machine.
PYTHON ?= python3
BACKEND ?= exact
BIN := .venv/bin

.PHONY: demo test lint imports bench clean

demo: .venv/ready
	$(BIN)/memstack demo --backend $(BACKEND)

test: .venv/ready
	$(BIN)/pytest -n 2 --dist worksteal

bench: .venv/ready
	cd benchmarks && ../$(BIN)/asv machine --yes && ../$(BIN)/asv run --quick --python=same

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Who imports whom between folders; tests/project/test_imports.py holds it. It needs no environment.
imports:
	@$(PYTHON) tests/helpers/imports.py

# constraints.txt pins what was tested; a newer pyproject.toml or constraints.txt installs again.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
