#!/usr/bin/env bash
# The tests that need a GPU, then one table of steps, tests and whole runs, in about 8 minutes: needs torch, no network
# and no data. Usage: bash benchmarks/gpu.sh [FOLDER]   the folder gets gpu_tests.txt, gpu.txt and gpu.json
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-benchmarks/results}
python=${PYTHON:-python3}
mkdir -p "$folder"
"$python" -m benchmarks.gpu --json "$folder/gpu.json" ${BENCHMARK_OPTIONS:-} 2>&1 | tee "$folder/gpu.txt"
if "$python" -c "import pytest" 2>/dev/null; then
    timeout 150 "$python" -m pytest -q -p no:cacheprovider -m gpu tests/gpu 2>&1 | tee "$folder/gpu_tests.txt" | tail -n 40
else
    echo "pytest is missing: the tests marked gpu were not run"
fi
