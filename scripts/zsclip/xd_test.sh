#!/usr/bin/env bash
# Tests zero-shot CLIP on another data set.
# Usage: bash scripts/zsclip/xd_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" ZeroshotCLIP "$@"
