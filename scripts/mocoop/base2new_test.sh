#!/usr/bin/env bash
# Tests the MoCoOp of base2new_train.sh on the other half of the classes.
# Usage: bash scripts/mocoop/base2new_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" MoCoOp "$@"
