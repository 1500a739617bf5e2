#!/usr/bin/env bash
# Trains a method on the first half of the classes, tests it on both halves among the names of all classes.
# Usage: bash scripts/base2new_all.sh METHOD DATASET [SEED...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
