#!/usr/bin/env bash
# Tests zero-shot CLIP on a shifted version of ImageNet, such as imagenet_sketch.
# Usage: bash scripts/zsclip/dg_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" ZeroshotCLIP "$@"
