"""The configuration tree: the keys and defaults of Dassl 0.6.3 that trainers built on it read or override.

What belongs to a single method (TRAINER.<METHOD>.*) is added by that method.
"""

from yacs.config import CfgNode as CN


def get_cfg_default() -> CN:
    """A fresh config with every key at its default."""
    return CN(
        {
            "VERSION": 1,
            "OUTPUT_DIR": "./output",
            "RESUME": "",  # folder of an earlier run to continue; empty: continue what OUTPUT_DIR holds
            "SEED": -1,  # negative: a different run every time
            "USE_CUDA": True,
            "VERBOSE": True,
            "INPUT": {
                "SIZE": (224, 224),  # height, width
                "INTERPOLATION": "bilinear",  # bilinear, bicubic or nearest
                "TRANSFORMS": (),  # names that transforms.py knows
                "NO_TRANSFORM": False,  # only False
                "PIXEL_MEAN": [0.485, 0.456, 0.406],
                "PIXEL_STD": [0.229, 0.224, 0.225],
                "CROP_PADDING": 4,  # random_crop
                "RRCROP_SCALE": (0.08, 1.0),  # random_resized_crop: share of the area
                "CUTOUT_N": 1,  # of other transforms of Dassl, as what has no comment below: read by nothing
                "CUTOUT_LEN": 16,
                "GN_MEAN": 0.0,
                "GN_STD": 0.15,
                "RANDAUGMENT_N": 2,  # operations per image
                "RANDAUGMENT_M": 10,  # magnitude, 0 to 30
                "COLORJITTER_B": 0.4,
                "COLORJITTER_C": 0.4,
                "COLORJITTER_S": 0.4,
                "COLORJITTER_H": 0.1,
                "RGS_P": 0.2,
                "GB_P": 0.5,
                "GB_K": 21,
            },
            "DATASET": {
                "ROOT": "",  # folder that holds all datasets
                "NAME": "",
                "SOURCE_DOMAINS": (),
                "TARGET_DOMAINS": (),
                "NUM_LABELED": -1,
                "NUM_SHOTS": -1,  # training images per class; below 1: all
                "VAL_PERCENT": 0.1,
                "STL10_FOLD": -1,
                "CIFAR_C_TYPE": "",
                "CIFAR_C_LEVEL": 1,
                "ALL_AS_UNLABELED": False,
            },
            "DATALOADER": {
                "NUM_WORKERS": 4,  # 0: load in the main process; -1: from the cores
                "K_TRANSFORMS": 1,  # only 1: a view per training image
                "RETURN_IMG0": False,  # read by nothing
                "TRAIN_X": _training_loader(),
                "TRAIN_U": {"SAME_AS_X": True, **_training_loader()},
                "TEST": {
                    "SAMPLER": "SequentialSampler",
                    "BATCH_SIZE": 32,
                },
            },
            "MODEL": {
                "INIT_WEIGHTS": "",
                "BACKBONE": {
                    "NAME": "",
                    "PRETRAINED": True,
                },
                "HEAD": {
                    "NAME": "",
                    "HIDDEN_LAYERS": (),
                    "ACTIVATION": "relu",
                    "BN": True,
                    "DROPOUT": 0.0,
                },
            },
            "OPTIM": {
                "NAME": "adam",  # adam, amsgrad, sgd, rmsprop, radam or adamw
                "LR": 0.0003,
                "WEIGHT_DECAY": 5e-4,
                "MOMENTUM": 0.9,
                "SGD_DAMPNING": 0,
                "SGD_NESTEROV": False,
                "RMSPROP_ALPHA": 0.99,
                "ADAM_BETA1": 0.9,
                "ADAM_BETA2": 0.999,
                "STAGED_LR": False,  # layers not in NEW_LAYERS learn at LR * BASE_LR_MULT
                "NEW_LAYERS": (),
                "BASE_LR_MULT": 0.1,
                "LR_SCHEDULER": "single_step",  # single_step, multi_step or cosine
                "STEPSIZE": (-1,),  # epochs; single_step reads the last one, below 1: MAX_EPOCH
                "GAMMA": 0.1,
                "MAX_EPOCH": 10,
                "WARMUP_EPOCH": -1,  # below 1: no warm-up
                "WARMUP_TYPE": "linear",  # linear or constant
                "WARMUP_CONS_LR": 1e-5,  # constant: the rate
                "WARMUP_MIN_LR": 1e-5,  # linear: the rate of the first epoch
                "WARMUP_RECOUNT": True,  # the schedule starts at its epoch 0 after the warm-up
            },
            "TRAIN": {
                "CHECKPOINT_FREQ": 0,  # epochs between checkpoints; below 1: only the last
                "PRINT_FREQ": 10,  # batches between log lines
                "COUNT_ITER": "train_x",
            },
            "TEST": {
                "EVALUATOR": "Classification",
                "PER_CLASS_RESULT": False,
                "COMPUTE_CMAT": False,  # write the confusion matrix to OUTPUT_DIR/cmat.pt
                "NO_TEST": False,
                "SPLIT": "test",  # test or val, for the final evaluation
                "FINAL_MODEL": "last_step",  # last_step or best_val
            },
            "TRAINER": {"NAME": ""},
        }
    )


def _training_loader() -> dict:
    return {
        "SAMPLER": "RandomSampler",
        "BATCH_SIZE": 32,
        "N_DOMAIN": 0,  # of Dassl's other samplers, as the next: read by nothing
        "N_INS": 16,
    }
