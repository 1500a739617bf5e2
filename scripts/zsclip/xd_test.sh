#!/usr/bin/env bash
# Tests zero-shot CLIP on another data set.
# Usage: bash scripts/zsclip/xd_test.sh DATASET [SEED...]
set -euo pipefail
TRAINER=ZeroshotCLIP
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
xd_test "$@"
