#!/usr/bin/env bash
# Makes the checkout ready to run: compilers and emulator (apt), a virtual environment with the locked packages, the project in it.
# Usage: scripts/setup.sh [--tests]    (--tests: also what only the tests need)
# Environment: VENV (default .venv), PYTHON (default: the first Python >= 3.11 found). A second run changes nothing and is quick.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
stamp=$venv/mcutrain-setup.stamp
tests_stamp=$venv/mcutrain-tests.stamp
log=$venv/mcutrain-setup.log

fail() {
    echo "setup: $*" >&2
    exit 1
}

has() { command -v "$1" > /dev/null 2>&1; }

is_recent_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        is_recent_python "$candidate" && echo "$candidate" && return 0
    done
    return 0 # none found: nothing printed
}

has_newlib() { [[ $(arm-none-eabi-gcc -print-file-name=libc.a 2> /dev/null) == */* ]]; }

missing_packages() {
    local python
    python=$(find_python)
    has gcc || echo gcc
    has arm-none-eabi-gcc || echo gcc-arm-none-eabi
    has_newlib || echo libnewlib-arm-none-eabi
    has qemu-system-arm || echo qemu-system-arm
    if [[ ! -x $venv/bin/python ]]; then
        [[ -n $python ]] || echo python3
        [[ -n $python ]] && "$python" -c 'import venv, ensurepip' > /dev/null 2>&1 || echo python3-venv
    fi
    if [[ ${1:-} == --tests ]]; then # the report's pages are tested in a browser
        has chromium || has chromium-browser || has google-chrome || echo chromium
    fi
}

install_packages() {
    local packages output
    packages=$(missing_packages "$@" | tr '\n' ' ')
    packages=${packages% }
    [[ -z $packages ]] && return
    has apt-get || fail "missing: $packages; install what these Debian packages hold with your system's package manager"
    [[ $(id -u) == 0 ]] || fail "missing: $packages; run: sudo apt-get install -y $packages"
    echo "setup: installing $packages"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # one word a package
    output=$({ apt-get update && apt-get install -y --no-install-recommends $packages; } 2>&1) ||
        fail "apt-get could not install $packages (no network?): $(grep -m1 '^E:' <<< "$output")"
    packages=$(missing_packages "$@" | tr '\n' ' ')
    [[ -z $packages ]] || fail "still missing after apt-get: $packages; install by hand (Python must be 3.11 or newer)"
}

make_environment() {
    [[ -x $venv/bin/python ]] && return
    "$(find_python)" -m venv "$venv" || fail "cannot make the virtual environment in $venv"
}

pip_install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$@" >> "$log" 2>&1 ||
        fail "pip could not install the Python packages (no network?): $(grep -m1 '^ERROR' "$log"); details in $log"
}

# What the environment was made from: another lock, project file, place or Python means another environment.
fingerprint() {
    pwd
    "$venv/bin/python" --version
    cat requirements.lock pyproject.toml
}

install_project() {
    local wanted
    wanted=$(fingerprint | sha256sum)
    [[ -x $venv/bin/mcutrain && -f $stamp && $(< "$stamp") == "$wanted" ]] && return
    is_recent_python "$venv/bin/python" || fail "$venv holds a Python older than 3.11; remove it or set VENV"
    echo "setup: installing the Python packages of requirements.lock into $venv"
    : > "$log"
    # --no-deps: the lock is complete, and nothing else may come in beside it.
    pip_install --no-deps --requirement requirements.lock
    pip_install --no-deps --no-build-isolation --editable .
    echo "$wanted" > "$stamp"
    echo "setup: done; $venv/bin/mcutrain is ready"
}

# What only the tests need. PyTorch in its CPU build: the one that PyPI would give wants several GB of CUDA beside it.
install_for_tests() {
    local wanted torch
    wanted=$(cat "$stamp" requirements-test.lock requirements-torch.txt | sha256sum)
    [[ -f $tests_stamp && $(< "$tests_stamp") == "$wanted" ]] && return
    echo "setup: installing the packages that the tests need into $venv"
    pip_install --no-deps --requirement requirements-test.lock
    torch=$(grep -v '^#' requirements-torch.txt)
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps "$torch+cpu" >> "$log" 2>&1 ||
        pip_install --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch"
    echo "$wanted" > "$tests_stamp"
}

install_packages "$@"
make_environment
install_project
if [[ ${1:-} == --tests ]]; then install_for_tests; fi
