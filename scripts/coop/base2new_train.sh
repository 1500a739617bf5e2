#!/usr/bin/env bash
# Trains CoOp on the first half of the classes and tests it on them.
# Usage: bash scripts/coop/base2new_train.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoOp "$@"
