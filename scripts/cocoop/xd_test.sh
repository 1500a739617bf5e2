#!/usr/bin/env bash
# Tests the CoCoOp of xd_train.sh on another data set.
# Usage: bash scripts/cocoop/xd_test.sh DATASET [SEED...]
set -euo pipefail
TRAINER=CoCoOp
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
xd_test "$@"
