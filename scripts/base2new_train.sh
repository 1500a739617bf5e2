#!/usr/bin/env bash
# Trains a method on the first half of the classes and tests it on them.
# Usage: bash scripts/base2new_train.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
