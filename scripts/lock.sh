#!/usr/bin/env bash
# Writes requirements.lock: exact versions of what the product, its examples and its tests need, resolved in a fresh environment.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
# hatchling and editables are in the lock so that setup installs the project without a download of its own.
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ${CONSTRAINTS:+-c "$CONSTRAINTS"} \
    ".[dev,examples]" hatchling editables
{
    echo "# Made by 'make lock' from pyproject.toml (product, dev, examples, build backend); do not edit."
    "$work/venv/bin/pip" freeze --disable-pip-version-check --exclude mcutrain
} > "$work/lock"
mv "$work/lock" requirements.lock
echo "lock: $(grep -vc '^#' requirements.lock) packages in requirements.lock"
