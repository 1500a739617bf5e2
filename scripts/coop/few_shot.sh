#!/usr/bin/env bash
# Trains and tests CoOp on all classes, by default with 1, 2, 4, 8 and 16 images per class.
# Usage: bash scripts/coop/few_shot.sh DATASET [SHOTS...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" CoOp "$@"
