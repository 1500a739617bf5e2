#!/usr/bin/env bash
# Trains a method on the first half of the classes, tests it on them and on the other half.
# Usage: bash scripts/base2new.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
