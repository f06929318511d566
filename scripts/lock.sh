#!/usr/bin/env bash
# Writes the locks, exact versions resolved in a fresh environment: requirements.lock (product, examples, build backend) and
# requirements-test.lock (what the tests need beside it). PyTorch stands apart in requirements-torch.txt: setup takes its CPU build.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/pip" --disable-pip-version-check "$@"; }
constraints=(${CONSTRAINTS:+-c "$CONSTRAINTS"})

# hatchling and editables are in the lock so that setup installs the project without a download of its own.
pip install --quiet "${constraints[@]}" ".[examples]" hatchling editables
pip freeze --exclude mcutrain > "$work/product"
pip install --quiet "${constraints[@]}" -r requirements-torch.txt
pip install --quiet "${constraints[@]}" ".[dev,torch]"
pip freeze --exclude mcutrain --exclude torch > "$work/all"

{
    echo "# Made by 'make lock' from pyproject.toml (product, examples, build backend); do not edit."
    cat "$work/product"
} > "$work/lock"
{
    echo "# Made by 'make lock' from pyproject.toml (what the tests need beside requirements.lock); do not edit."
    comm -13 <(sort "$work/product") <(sort "$work/all")
} > "$work/test"
mv "$work/lock" requirements.lock
mv "$work/test" requirements-test.lock
echo "lock: $(grep -vc '^#' requirements.lock) packages in requirements.lock, $(grep -vc '^#' requirements-test.lock) in requirements-test.lock"
