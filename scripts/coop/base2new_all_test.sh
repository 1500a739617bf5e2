#!/usr/bin/env bash
# Tests the CoOp of base2new_train.sh on both halves of the classes, among the names of all classes.
# Usage: bash scripts/coop/base2new_all_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoOp "$@"
