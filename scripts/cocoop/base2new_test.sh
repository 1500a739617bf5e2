#!/usr/bin/env bash
# Tests the CoCoOp of base2new_train.sh on the other half of the classes.
# Usage: bash scripts/cocoop/base2new_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoCoOp "$@"
