#!/usr/bin/env bash
# Trains a method on all classes of ImageNet and tests it on another data set.
# Usage: bash scripts/xd.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
