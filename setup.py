"""Installs the library `mocoop` and its console command.

`trainers/`, `datasets/`, `configs/` and `scripts/` are used from the checkout: packages of such common names, once
installed, would hide those of other projects.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "mocoop/__init__.py").read_text()).group(1)
OPEN_CLIP = ["open_clip_torch>=3.3", "transformers"]  # the latter for tokenizers and text towers of its hub

setup(
    name="mocoop",
    version=VERSION,
    description="Mixture of prompt learning for vision-language models: a Dassl/CoOp-compatible trainer extension",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["mocoop", "mocoop.*"]),
    package_data={
        "mocoop": [
            "**/*.json",
            "**/*.csv",
            "**/*.safetensors",
            "report/template/*",
            "export/card.md",
            "serve/template/*",
        ]
    },
    install_requires=[
        "torch>=2.4",
        "torchvision",
        "clip-anytorch>=2.6",
        "jinja2",
        "packaging",
        "requests",
        "yacs",
        "gdown",
        "numpy",
        "pillow",
        "safetensors",
        "scipy",
        "scikit-learn",
        "pandas",
        "matplotlib",
        "tqdm",
    ],
    entry_points={"console_scripts": ["mocoop = mocoop.cli:main"]},
    extras_require={
        "cluster": ["submitit"],
        "onnx": ["onnx", "onnxruntime"],
        "open_clip": OPEN_CLIP,
        "tensorboard": ["tensorboard"],
        "wandb": ["wandb"],
        "web": ["gradio>=6"],
        "test": [
            "hypothesis",
            "onnx",
            "onnxruntime",
            *OPEN_CLIP,
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "submitit",
            "tensorboard",
        ],
    },
)
