"""What needs CUDA: marked `gpu`, and skipped without a GPU, which the test run's last lines count."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.get("skipped", [])
    skipped = [report for report in reports if "gpu" in getattr(report, "keywords", ())]  # a whole file's has none
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests need a GPU and were skipped")


@pytest.fixture(autouse=True)
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.device("cuda")
