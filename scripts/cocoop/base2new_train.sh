#!/usr/bin/env bash
# Trains CoCoOp on the first half of the classes and tests it on them.
# Usage: bash scripts/cocoop/base2new_train.sh DATASET [SEED...]
set -euo pipefail
TRAINER=CoCoOp
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base2new_train "$@"
