#!/usr/bin/env bash
# Trains CoOp on the first half of the classes and tests it on them.
# Usage: bash scripts/coop/base2new_train.sh DATASET [SEED...]
set -euo pipefail
TRAINER=CoOp
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base2new_train "$@"
