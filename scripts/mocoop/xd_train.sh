#!/usr/bin/env bash
# Trains MoCoOp on all classes of ImageNet, for xd_test.sh and dg_test.sh.
# Usage: bash scripts/mocoop/xd_train.sh [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" MoCoOp "$@"
