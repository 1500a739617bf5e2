#!/usr/bin/env bash
# Trains CoCoOp on the first half of the classes and tests it on them.
# Usage: bash scripts/cocoop/base2new_train.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoCoOp "$@"
