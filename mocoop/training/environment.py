"""What a run ran on, as text for its log."""

import platform
import sys

import torch

from mocoop.versions import installed_versions

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "scikit-learn", "yacs")


def collect_env_info() -> str:
    """Versions of Python and the packages that shape a result, the operating system, CPU threads and GPUs."""
    lines = [f"Python: {sys.version.split()[0]}", f"OS: {platform.platform()}"]
    versions = installed_versions(PACKAGES)
    lines += [f"{name}: {versions.get(name, 'not installed')}" for name in PACKAGES]
    lines.append(f"CPU threads: {torch.get_num_threads()}")
    lines.append(f"CUDA: {torch.version.cuda or 'not built in'}, cuDNN: {torch.backends.cudnn.version() or 'none'}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines.append(f"GPUs: {', '.join(gpus) or 'none'}")
    return "\n".join(lines)
