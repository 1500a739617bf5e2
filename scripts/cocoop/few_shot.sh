#!/usr/bin/env bash
# Trains and tests CoCoOp on all classes, by default with 1, 2, 4, 8 and 16 images per class.
# Usage: bash scripts/cocoop/few_shot.sh DATASET [SHOTS...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoCoOp "$@"
