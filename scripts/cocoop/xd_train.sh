#!/usr/bin/env bash
# Trains CoCoOp on all classes of ImageNet, for xd_test.sh and dg_test.sh.
# Usage: bash scripts/cocoop/xd_train.sh [SEED...]
set -euo pipefail
TRAINER=CoCoOp
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
xd_train "$@"
