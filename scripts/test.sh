#!/usr/bin/env bash
# Runs the tests, after making the environment they need where it is missing.
# Usage: bash scripts/test.sh [PYTEST-ARGUMENT...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
cd "$CHECKOUT"
exec "$PYTHON" -m pytest -q --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder "$@"
