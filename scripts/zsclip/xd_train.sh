#!/usr/bin/env bash
# Tests zero-shot CLIP on all classes of ImageNet.
# Usage: bash scripts/zsclip/xd_train.sh [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" ZeroshotCLIP "$@"
