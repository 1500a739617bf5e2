#!/usr/bin/env bash
# Tests the CoOp of xd_train.sh on another data set.
# Usage: bash scripts/coop/xd_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoOp "$@"
