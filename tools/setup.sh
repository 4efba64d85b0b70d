#!/usr/bin/env bash
# setup.sh REQUIREMENTS_FILE: makes .venv with what a requirements file lists, once for each state of the files; never silent for long.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  found=$("$python" --version 2>&1 || true)
  echo "Python 3.11 or newer is needed; '$python' is ${found:-not there}." >&2
  echo "  -> install it, then: make PYTHON=python3.11 demo" >&2
  exit 1
fi

stamp=".venv/.installed-$(basename "$requirements")"
wanted=$(cat ./requirements*.txt ./*/requirements.txt pyproject.toml | cksum)
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi

echo "Installing $requirements into .venv"
(while sleep 4 >/dev/null 2>&1; do echo "  ... still installing, ${SECONDS} s"; done) &
beat=$!
trap 'kill "$beat" 2>/dev/null || true' EXIT
log=$(mktemp)
[ -x .venv/bin/python ] || "$python" -m venv .venv || {
  echo "The virtual environment could not be made (on Debian: apt-get install python3-venv)." >&2
  exit 1
}
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-cache-dir -q -r "$requirements" >"$log" 2>&1 ||
  ! .venv/bin/python -m pip install --disable-pip-version-check --no-cache-dir -q --no-deps -e . >"$log" 2>&1; then
  tail -n 8 "$log" >&2
  echo "The packages could not be installed; is a package network within reach? Then run this again." >&2
  exit 1
fi
rm -f "$log"
echo "$wanted" >"$stamp"
