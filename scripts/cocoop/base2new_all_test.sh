#!/usr/bin/env bash
# Tests the CoCoOp of base2new_train.sh on both halves of the classes, among the names of all classes.
# Usage: bash scripts/cocoop/base2new_all_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoCoOp "$@"
