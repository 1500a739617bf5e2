#!/usr/bin/env bash
# Tests zero-shot CLIP on both halves of the classes, among the names of all classes.
# Usage: bash scripts/zsclip/base2new_all_test.sh DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh" ZeroshotCLIP "$@"
