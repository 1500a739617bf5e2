#!/usr/bin/env bash
# Tests the model of xd_train.sh on another data set.
# Usage: bash scripts/xd_test.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
