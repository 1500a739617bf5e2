"""How alike the experts of a trained model are: the cosine between their features of a class, averaged over classes."""

from pathlib import Path

import pandas as pd
import torch

from mocoop.errors import DataError, MocoopError
from mocoop.results.routing import Spread, over_seeds
from mocoop.runs.trained_run import load_run


@torch.no_grad()
def expert_similarity(folder: str | Path) -> pd.DataFrame:
    """The (E, E) table of the run that was trained in `folder`, over its own classes, named by the experts.

    Raises DataError where the method has no experts; CheckpointError or ConfigError as `load_run`, which downloads
    no weights.
    """
    run = load_run(folder)
    if not run.group_names:
        raise DataError(f"{folder}: {run.cfg.TRAINER.NAME} has no experts, expected a run of MoCoOp")
    with run.precision.autocast():
        features = run.method.class_features().float()  # (E, C, D), normalised
    cosines = torch.einsum("ecd,gcd->egc", features, features).mean(-1)  # (E, E)
    return pd.DataFrame(cosines.cpu().numpy(), run.group_names, run.group_names)


def similarities_by_dataset(runs: pd.DataFrame) -> tuple[dict[str, Spread], list[str]]:
    """`expert_similarity` of the trained runs (rows of `collect`), over the seeds of each dataset; and what failed."""
    tables: dict[str, list[pd.DataFrame]] = {}
    problems = []
    for run in runs.itertuples():
        try:
            table = expert_similarity(run.folder)
        except MocoopError as error:
            problems.append(str(error))
        else:
            tables.setdefault(run.dataset, []).append(table)
    return {dataset: over_seeds(found) for dataset, found in tables.items()}, problems
