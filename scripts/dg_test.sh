#!/usr/bin/env bash
# Tests the model of xd_train.sh on a shifted version of its data set, such as imagenet_sketch.
# Usage: bash scripts/dg_test.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
