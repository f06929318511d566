# Everything a person runs from a checkout. VENV, PYTHON and PYTEST_ARGS can be set: make test VENV=/tmp/venv PYTEST_ARGS="-k arena"
VENV ?= .venv
PYTEST_ARGS ?=
export VENV

.PHONY: setup demo test bench lint lock clean

setup:
	@scripts/setup.sh

demo: setup
	$(VENV)/bin/python examples/demo.py

test:
	@scripts/setup.sh --tests
	$(VENV)/bin/ruff check
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

bench: setup
	$(VENV)/bin/python benchmarks/run.py

lint: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

# New versions of everything, from the ranges in pyproject.toml; the result is committed.
lock:
	@scripts/lock.sh

# The virtual environment stays: it is slow to make and `make setup` renews it when the lock changes.
clean:
	rm -rf build dist out out.tar demo_out .pytest_cache .ruff_cache .hypothesis digits_rotated.npz
	find . -name __pycache__ -not -path './.venv/*' -not -path './.git/*' -prune -exec rm -rf {} +
