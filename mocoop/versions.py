"""What a run ran on: versions of packages, and of all that shapes a result, as text for its log."""

import platform
import sys
from collections.abc import Iterable
from importlib import metadata

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "scikit-learn", "yacs")


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """By name, of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def collect_env_info() -> str:
    """Versions of Python and the packages that shape a result, the operating system, CPU threads and GPUs."""
    import torch

    lines = [f"Python: {sys.version.split()[0]}", f"OS: {platform.platform()}"]
    versions = installed_versions(PACKAGES)
    lines += [f"{name}: {versions.get(name, 'not installed')}" for name in PACKAGES]
    lines.append(f"CPU threads: {torch.get_num_threads()}")
    lines.append(f"CUDA: {torch.version.cuda or 'not built in'}, cuDNN: {torch.backends.cudnn.version() or 'none'}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines.append(f"GPUs: {', '.join(gpus) or 'none'}")
    return "\n".join(lines)
