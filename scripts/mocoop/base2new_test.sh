#!/usr/bin/env bash
# Tests the MoCoOp of base2new_train.sh on the other half of the classes.
# Usage: bash scripts/mocoop/base2new_test.sh DATASET [SEED...]
set -euo pipefail
TRAINER=MoCoOp
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base2new_test "$@"
