#!/usr/bin/env bash
# From nothing to a comparison: makes the environment, runs every method on the Shapes sets, prints the tables.
# Usage: bash scripts/demo.sh
#
#   DATA    folder where the Shapes sets are made  (default: data, in this checkout)
#   OUTPUT  folder for the results                 (default: output, in this checkout)
#
# What is there already is used again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
DATA=$(absolute "${DATA:-$CHECKOUT/data}")
OUTPUT=$(absolute "${OUTPUT:-$CHECKOUT/output}")
export DATA OUTPUT
cd "$CHECKOUT"
exec "$PYTHON" -m scripts.demo
