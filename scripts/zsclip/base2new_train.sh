#!/usr/bin/env bash
# Tests zero-shot CLIP on the first half of the classes.
# Usage: bash scripts/zsclip/base2new_train.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" ZeroshotCLIP "$@"
