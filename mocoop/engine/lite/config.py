"""The configuration tree: the keys and defaults of Dassl 0.6.3 that trainers built on it read or override.

What belongs to a single method (TRAINER.<METHOD>.*) is added by that method.
"""

from yacs.config import CfgNode as CN


def get_cfg_default() -> CN:
    """A fresh config with every key at its default."""
    cfg = CN()
    cfg.VERSION = 1
    cfg.OUTPUT_DIR = "./output"
    cfg.RESUME = ""  # folder of an earlier run to continue; empty: continue what OUTPUT_DIR holds
    cfg.SEED = -1  # negative: a different run every time
    cfg.USE_CUDA = True
    cfg.VERBOSE = True
    cfg.INPUT = _input()
    cfg.DATASET = _dataset()
    cfg.DATALOADER = _dataloader()
    cfg.MODEL = _model()
    cfg.OPTIM = _optim()
    cfg.TRAIN = _train()
    cfg.TEST = _test()
    cfg.TRAINER = CN()
    cfg.TRAINER.NAME = ""
    return cfg


def _input():
    node = CN()
    node.SIZE = (224, 224)  # height, width
    node.INTERPOLATION = "bilinear"  # bilinear, bicubic or nearest
    node.TRANSFORMS = ()  # names that transforms.py knows
    node.NO_TRANSFORM = False  # hand out PIL images as they are
    node.PIXEL_MEAN = [0.485, 0.456, 0.406]
    node.PIXEL_STD = [0.229, 0.224, 0.225]
    node.CROP_PADDING = 4  # random_crop
    node.RRCROP_SCALE = (0.08, 1.0)  # random_resized_crop: share of the area
    node.CUTOUT_N = 1  # patches
    node.CUTOUT_LEN = 16  # pixels
    node.GN_MEAN = 0.0  # gaussian_noise
    node.GN_STD = 0.15
    node.RANDAUGMENT_N = 2  # operations per image
    node.RANDAUGMENT_M = 10  # magnitude, 0 to 30
    node.COLORJITTER_B = 0.4  # brightness
    node.COLORJITTER_C = 0.4  # contrast
    node.COLORJITTER_S = 0.4  # saturation
    node.COLORJITTER_H = 0.1  # hue
    node.RGS_P = 0.2  # randomgrayscale: probability
    node.GB_P = 0.5  # gaussian_blur: probability
    node.GB_K = 21  # gaussian_blur: kernel size, odd
    return node


def _dataset():
    node = CN()
    node.ROOT = ""  # folder that holds all datasets
    node.NAME = ""
    node.SOURCE_DOMAINS = ()
    node.TARGET_DOMAINS = ()
    node.NUM_LABELED = -1
    node.NUM_SHOTS = -1  # training images per class; below 1: all
    node.VAL_PERCENT = 0.1
    node.STL10_FOLD = -1
    node.CIFAR_C_TYPE = ""
    node.CIFAR_C_LEVEL = 1
    node.ALL_AS_UNLABELED = False
    return node


def _dataloader():
    node = CN()
    node.NUM_WORKERS = 4  # 0: load in the main process
    node.K_TRANSFORMS = 1  # only 1: a view per training image
    node.RETURN_IMG0 = False  # also hand out the image without augmentation
    node.TRAIN_X = _training_loader()
    node.TRAIN_U = CN({"SAME_AS_X": True, **_training_loader()})
    node.TEST = CN()
    node.TEST.SAMPLER = "SequentialSampler"
    node.TEST.BATCH_SIZE = 32
    return node


def _training_loader():
    node = CN()
    node.SAMPLER = "RandomSampler"
    node.BATCH_SIZE = 32
    node.N_DOMAIN = 0  # RandomDomainSampler: domains per batch; below 1: all
    node.N_INS = 16  # RandomClassSampler: images per class in a batch
    return node


def _model():
    node = CN()
    node.INIT_WEIGHTS = ""
    node.BACKBONE = CN()
    node.BACKBONE.NAME = ""
    node.BACKBONE.PRETRAINED = True
    node.HEAD = CN()
    node.HEAD.NAME = ""
    node.HEAD.HIDDEN_LAYERS = ()
    node.HEAD.ACTIVATION = "relu"
    node.HEAD.BN = True
    node.HEAD.DROPOUT = 0.0
    return node


def _optim():
    node = CN()
    node.NAME = "adam"  # adam, amsgrad, sgd, rmsprop, radam or adamw
    node.LR = 0.0003
    node.WEIGHT_DECAY = 5e-4
    node.MOMENTUM = 0.9
    node.SGD_DAMPNING = 0
    node.SGD_NESTEROV = False
    node.RMSPROP_ALPHA = 0.99
    node.ADAM_BETA1 = 0.9
    node.ADAM_BETA2 = 0.999
    node.STAGED_LR = False  # layers not in NEW_LAYERS learn at LR * BASE_LR_MULT
    node.NEW_LAYERS = ()
    node.BASE_LR_MULT = 0.1
    node.LR_SCHEDULER = "single_step"  # single_step, multi_step or cosine
    node.STEPSIZE = (-1,)  # epochs; single_step reads the last one, below 1: MAX_EPOCH
    node.GAMMA = 0.1
    node.MAX_EPOCH = 10
    node.WARMUP_EPOCH = -1  # below 1: no warm-up
    node.WARMUP_TYPE = "linear"  # linear or constant
    node.WARMUP_CONS_LR = 1e-5  # constant: the rate
    node.WARMUP_MIN_LR = 1e-5  # linear: the rate of the first epoch
    node.WARMUP_RECOUNT = True  # the schedule starts at its epoch 0 after the warm-up
    return node


def _train():
    node = CN()
    node.CHECKPOINT_FREQ = 0  # epochs between checkpoints; below 1: only the last
    node.PRINT_FREQ = 10  # batches between log lines
    node.COUNT_ITER = "train_x"
    return node


def _test():
    node = CN()
    node.EVALUATOR = "Classification"
    node.PER_CLASS_RESULT = False
    node.COMPUTE_CMAT = False  # write the confusion matrix to OUTPUT_DIR/cmat.pt
    node.NO_TEST = False
    node.SPLIT = "test"  # test or val, for the final evaluation
    node.FINAL_MODEL = "last_step"  # last_step or best_val
    return node
