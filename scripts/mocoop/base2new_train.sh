#!/usr/bin/env bash
# Trains MoCoOp on the first half of the classes and tests it on them.
# Usage: bash scripts/mocoop/base2new_train.sh DATASET [SEED...]
set -euo pipefail
TRAINER=MoCoOp
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base2new_train "$@"
