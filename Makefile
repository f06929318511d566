# Everything a person runs from a checkout. VENV, PYTHON and PYTEST_ARGS can be set: make test VENV=/tmp/venv PYTEST_ARGS="-k arena"
VENV ?= .venv
PYTEST_ARGS ?=
export VENV
# C that people write; what is emitted (tests/golden) has a format of its own.
C_FILES = $(shell find runtime_c tests/runtime_c -name '*.[ch]' | sort)

.PHONY: setup demo test bench lint lock clean

setup:
	@scripts/setup.sh

demo: setup
	$(VENV)/bin/python examples/demo.py

test: lint
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

bench: setup
	$(VENV)/bin/python benchmarks/run.py

# The same checks as .pre-commit-config.yaml has, on the whole repository.
lint:
	@scripts/setup.sh --tests
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES)
	$(VENV)/bin/shellcheck scripts/*.sh .ci/run
	$(VENV)/bin/codespell

# New versions of everything, from the ranges in pyproject.toml; the result is committed.
lock:
	@scripts/lock.sh

# The virtual environment stays: it is slow to make and `make setup` renews it when the lock changes.
clean:
	rm -rf build dist out out.tar demo_out .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis digits_rotated.npz
	find . -name __pycache__ -not -path './.venv/*' -not -path './.git/*' -prune -exec rm -rf {} +
