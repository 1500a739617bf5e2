# What the scripts of all methods share: the protocols, the configurations, and the command line of train.py.
#
#   DATA     folder with the data sets                 (default: data, in this checkout)
#   OUTPUT   folder for the results                    (default: output, in this checkout)
#   CFG      configuration of the method               (default: the published one for the data set)
#   SHOTS    training images per class                 (default: 16)
#   SEEDS    seeds where the arguments name none       (default: 1 2 3)
#   SOURCE   data set the xd and dg protocols train on (default: imagenet)
#   OPTS     KEY VALUE overrides for train.py          (default: none)
#   PYTHON   interpreter                               (default: that of .venv, else python3)
#   DRY_RUN  1 prints the commands and runs nothing; plan, for `mocoop run`, prints those of finished runs too
#
# A script sets TRAINER, reads this file and calls one of the protocols. A finished run is skipped; nothing is removed.

# --- protocols ------------------------------------------------------------------------------------------------------

base2new_train() {  # DATASET [SEED...]
    dataset_and_seeds "$@"
    for seed in $SEEDS; do run base2new/train_base base "$DATASET"; done
}

base2new_test() {  # DATASET [SEED...]
    dataset_and_seeds "$@"
    for seed in $SEEDS; do run base2new/test_new new "$DATASET" base2new/train_base "$DATASET"; done
}

few_shot() {  # DATASET [SHOTS...]
    dataset_and_seeds "${1:-}"
    shift
    whole_numbers SHOTS "$@"
    if [ "$TRAINER" = ZeroshotCLIP ]; then set -- 0; fi
    [ $# -gt 0 ] || set -- 1 2 4 8 16
    for SHOTS in "$@"; do
        for seed in $SEEDS; do run few_shot/train_all all "$DATASET"; done
    done
}

xd_train() {  # [SEED...]
    dataset_and_seeds "$SOURCE" "$@"
    for seed in $SEEDS; do run xd/train all "$DATASET"; done
}

xd_test() {  # DATASET [SEED...]
    dataset_and_seeds "$@"
    for seed in $SEEDS; do run xd/test all "$DATASET" xd/train "$SOURCE"; done
}

dg_test() {  # DATASET [SEED...]
    dataset_and_seeds "$@"
    for seed in $SEEDS; do run dg/test all "$DATASET" xd/train "$SOURCE"; done
}

# --- one run --------------------------------------------------------------------------------------------------------

run() {  # PHASE CLASSES DATASET [MODEL_PHASE MODEL_DATASET]: trains $seed, or tests the model of another phase
    local phase=$1 classes=$2 dataset=$3 model_phase=${4:-} source=${5:-$3} cfg file folder model epoch
    if [ "$TRAINER" = ZeroshotCLIP ]; then model_phase="" source=$dataset; fi
    cfg=$(choose_cfg "${model_phase:-$phase}" "$source")
    file=$(config_file "$cfg" "$source")
    folder=$(run_folder "$phase" "$dataset" "$cfg")
    if [ "${DRY_RUN:-}" != plan ] && grep -qs '"status": "done"' "$folder/result.json"; then
        echo "finished already: $folder"
        return
    fi
    set -- DATASET.NUM_SHOTS "$SHOTS" DATASET.SUBSAMPLE_CLASSES "$classes"
    if [ "$TRAINER" = ZeroshotCLIP ]; then
        set -- --eval-only "$@"
    elif [ -n "$model_phase" ]; then
        model=$(run_folder "$model_phase" "$source" "$cfg")
        epoch=$(last_epoch "$file")
        if [ ! -d "$model" ] && [ -z "${DRY_RUN:-}" ]; then
            die "no trained model in $model; run $(dirname "$0")/${model_phase%%/*}_train.sh first"
        fi
        set -- --eval-only --model-dir "$model" --load-epoch "$epoch" "$@"
    fi
    set -- "$PYTHON" train.py --root "$DATA" --seed "$seed" --trainer "$TRAINER" \
        --dataset-config-file "configs/datasets/$dataset.yaml" --config-file "$file" --output-dir "$folder" "$@"
    if [ -n "${OPTS:-}" ]; then set -- "$@" "${OVERRIDES[@]}"; fi
    if [ -n "${DRY_RUN:-}" ]; then
        printf '%q' "$1"
        printf ' %q' "${@:2}"
        echo
    else
        check_python
        "$@"
    fi
}

check_python() {  # where no environment was made or named
    [ "$PYTHON" != python3 ] || python3 -c "import importlib.util as u, sys; sys.exit(not u.find_spec('torch'))" ||
        die "python3 has no torch; make .venv with scripts/test.sh, or name an interpreter: PYTHON=... bash $0 ..."
}

run_folder() {  # PHASE DATASET CFG
    echo "$OUTPUT/$1/$2/shots_$SHOTS/$TRAINER/$3/seed$seed"
}

# --- configurations -------------------------------------------------------------------------------------------------

choose_cfg() {  # PHASE DATASET: for CoOp and CoCoOp as their papers' repository runs them, for MoCoOp as released
    if [ -n "${CFG:-}" ]; then
        echo "$CFG"
        return
    fi
    case $TRAINER,$1,$2,$SHOTS in
        *,shapes_*) echo tiny ;;
        ZeroshotCLIP,*) echo vit_b16 ;;
        CoOp,few_shot/*,imagenet,* | CoOp,few_shot/*,1) echo vit_b16_ep50 ;;
        CoOp,few_shot/*,[24]) echo vit_b16_ep100 ;;
        CoOp,few_shot/*) echo vit_b16 ;;
        CoOp,*,imagenet,*) echo vit_b16_ep50_ctxv1 ;;
        CoOp,*) echo vit_b16_ctxv1 ;;
        CoCoOp,*) echo vit_b16_c4_ep10_batch1_ctxv1 ;;
        MoCoOp,*) echo released ;;
    esac
}

config_file() {  # CFG DATASET: the file <cfg>.yaml, or in the folder <cfg> <dataset>.yaml, else default.yaml
    local folder=configs/trainers/$TRAINER
    if [ -f "$folder/$1.yaml" ]; then
        echo "$folder/$1.yaml"
    elif [ -f "$folder/$1/$2.yaml" ]; then
        echo "$folder/$1/$2.yaml"
    elif [ -f "$folder/$1/default.yaml" ]; then
        echo "$folder/$1/default.yaml"
    else
        die "no configuration $folder/$1.yaml or $folder/$1/$2.yaml; write it or set CFG to one of: $(names "$folder")"
    fi
}

last_epoch() {  # CONFIG_FILE: its OPTIM.MAX_EPOCH, or that of OPTS
    local epoch i
    epoch=$(awk '/^[^ #]/ { inside = /^OPTIM:/ } inside && $1 == "MAX_EPOCH:" { print $2; exit }' "$1")
    for ((i = 0; i < ${#OVERRIDES[@]}; i += 2)); do
        if [ "${OVERRIDES[i]}" = OPTIM.MAX_EPOCH ]; then epoch=${OVERRIDES[i + 1]}; fi
    done
    [ -n "$epoch" ] || die "no OPTIM.MAX_EPOCH in $1, so the epoch to load is not known"
    echo "$epoch"
}

# --- settings and arguments -----------------------------------------------------------------------------------------

dataset_and_seeds() {  # DATASET [SEED...]: sets DATASET and SEEDS
    case ${1:-} in
        "" | -*) die "no data set named; usage: $(sed -n 's/^# Usage: //p' "$SCRIPT")" ;;
    esac
    DATASET=$1
    shift
    whole_numbers SEED "$@"
    SEEDS=${*:-${SEEDS:-1 2 3}}
    if [ ! -f "configs/datasets/$DATASET.yaml" ]; then
        die "no data set '$DATASET' in configs/datasets; choose one of: $(names configs/datasets)"
    fi
    case $DATASET in
        shapes_*) ;;  # are rendered where they are missing
        *) [ -d "$DATA" ] || [ "${DRY_RUN:-}" = 1 ] ||
            die "no data in $(absolute "$DATA"); get it as DATASETS.md says, then: DATA=/its/folder bash $0 ..." ;;
    esac
}

whole_numbers() {  # NAME [VALUE...]
    local name=$1 value
    shift
    for value in "$@"; do
        case $value in *[!0-9]* | "") die "got $name '$value', expected a whole number" ;; esac
    done
}

read_overrides() {  # WORDS, quoted as for a shell where they hold blanks: sets OVERRIDES
    local word words
    OVERRIDES=()
    words=$(xargs -n 1 printf '%s\n' <<< "$1" 2>/dev/null && echo end) || die "got OPTS with an open quote: $1"
    while IFS= read -r word; do OVERRIDES+=("$word"); done < <(printf '%s' "${words%end}")
    [ $((${#OVERRIDES[@]} % 2)) -eq 0 ] || die "got OPTS '$1', expected pairs KEY VALUE"
}

names() {  # FOLDER: what can be chosen in it
    ls "$1" 2>/dev/null | sed 's/\.yaml$//' | tr '\n' ' '
}

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
DATA=${DATA:+$(absolute "$DATA")}
DATA=${DATA:-data}
OUTPUT=${OUTPUT:+$(absolute "$OUTPUT")}
OUTPUT=${OUTPUT#"$CHECKOUT/"}  # one folder has one name
OUTPUT=${OUTPUT:-output}
SHOTS=${SHOTS:-16}
SOURCE=${SOURCE:-imagenet}
OVERRIDES=()
if [ -n "${OPTS:-}" ]; then read_overrides "$OPTS"; fi
if [ "$TRAINER" = ZeroshotCLIP ]; then SHOTS=0; fi

SCRIPT=$(absolute "$0")
cd "$CHECKOUT"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
