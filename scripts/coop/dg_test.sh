#!/usr/bin/env bash
# Tests the CoOp of xd_train.sh on a shifted version of its data set, such as imagenet_sketch.
# Usage: bash scripts/coop/dg_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoOp "$@"
