#!/usr/bin/env bash
# Tests zero-shot CLIP on the other half of the classes.
# Usage: bash scripts/zsclip/base2new_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" ZeroshotCLIP "$@"
