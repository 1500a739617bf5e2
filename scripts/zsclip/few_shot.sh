#!/usr/bin/env bash
# Tests zero-shot CLIP on all classes: the zero shots of the curve, whatever SHOTS are named.
# Usage: bash scripts/zsclip/few_shot.sh DATASET [SHOTS...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" ZeroshotCLIP "$@"
