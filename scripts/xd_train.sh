#!/usr/bin/env bash
# Trains a method on all classes of ImageNet, for xd_test.sh and dg_test.sh.
# Usage: bash scripts/xd_train.sh METHOD [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
