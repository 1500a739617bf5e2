#!/usr/bin/env bash
# Trains a method on all classes of ImageNet and tests it on a shifted version, such as imagenet_sketch.
# Usage: bash scripts/dg.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
