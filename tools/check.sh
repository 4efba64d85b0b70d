#!/usr/bin/env bash
# check.sh: format, lint, types and shell scripts; all clean or it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
ruff format --check .
ruff check .
lint-imports --no-cache --no-logo
pyright
python tools/generate_docs.py --check
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
shellcheck -x "${scripts[@]}"
sphinx-build -q -E -W --keep-going -j 2 -b html docs .localcloud/site # -E: navigation is not a page, so read all anew; seconds
