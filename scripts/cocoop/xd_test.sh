#!/usr/bin/env bash
# Tests the CoCoOp of xd_train.sh on another data set.
# Usage: bash scripts/cocoop/xd_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoCoOp "$@"
