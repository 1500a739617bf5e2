#!/usr/bin/env bash
# Tests the MoCoOp of xd_train.sh on another data set.
# Usage: bash scripts/mocoop/xd_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" MoCoOp "$@"
