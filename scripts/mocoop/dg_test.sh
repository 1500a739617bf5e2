#!/usr/bin/env bash
# Tests the MoCoOp of xd_train.sh on a shifted version of its data set, such as imagenet_sketch.
# Usage: bash scripts/mocoop/dg_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" MoCoOp "$@"
