# What all scripts of protocols share. What a protocol consists of is said in mocoop/protocol.py.
#
#   DATA     folder with the data sets                 (default: a data set's own ROOT, else data, in this checkout)
#   OUTPUT   folder for the results                    (default: output, in this checkout)
#   CFG      configuration of the method               (default: the published one for the data set)
#   SHOTS    training images per class, one or several (default: 16; few_shot: 1 2 4 8 16)
#   SEEDS    seeds where the arguments name none       (default: 1 2 3)
#   SOURCE   data set the xd and dg protocols train on (default: imagenet)
#   OPTS     KEY VALUE overrides for train.py          (default: none)
#   PLUGIN   Python files that register methods      (default: none)
#   PYTHON   interpreter                               (default: that of .venv, else python3)
#   DRY_RUN  1 prints the commands and runs nothing; plan prints those of finished runs too
#
# Relative paths start from the folder that a script is called in.
#
# A script is named after what it runs and reads this file with the arguments METHOD [DATASET] [NUMBER...]. A finished
# run is skipped; nothing is removed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

usage=$(sed -n 's/^# Usage: //p' "$0")
start=$PWD
case ${PYTHON:-} in */*) PYTHON=$(absolute "$PYTHON") ;; esac
cd "$CHECKOUT"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
export PYTHON
module=torch
if [ "${DRY_RUN:-0}" != 0 ]; then module=yaml; fi
"$PYTHON" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('$module'))" ||
    die "$PYTHON has no $module; make .venv with scripts/test.sh, or name an interpreter: PYTHON=... bash $0 ..."
exec "$PYTHON" -m mocoop.protocols.script "$0" "$start" "$usage" "$@"
