#!/usr/bin/env bash
# Tests the model of base2new_train.sh on the other half of the classes.
# Usage: bash scripts/base2new_test.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
