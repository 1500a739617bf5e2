"""CoOp's entry point, on the datasets and trainers beside this file: mocoop/train.py has the flags.

python train.py --root DATA --seed 1 --trainer MoCoOp --dataset-config-file configs/datasets/shapes_both.yaml \\
    --config-file configs/trainers/MoCoOp/tiny.yaml --output-dir output/try
"""

import sys
from functools import partial
from pathlib import Path

from mocoop.train import load, main, parse_args  # noqa: F401 (parse_args is for those who import this file)

HERE = Path(__file__).absolute().parent
load, main = partial(load, HERE), partial(main, checkout=HERE)

if __name__ == "__main__":
    sys.exit(main())
