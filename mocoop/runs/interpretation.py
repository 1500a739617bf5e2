"""Which tokens of the vocabulary lie nearest to learned context vectors, and how near that is.

The metric is CoOp's: the euclidean distance to the token embeddings. Beside it stands what random vectors of the same
norm reach, and, where a vector started from a word, how far it has moved from it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from torch import Tensor
from yacs.config import CfgNode

from mocoop.clip.openai import TOKENIZER
from mocoop.clip.prompts import readable
from mocoop.clip.templates import split_template
from mocoop.clip.tokenizer import Tokenizer
from mocoop.errors import ConfigError, DataError, MocoopError
from mocoop.methods.base import PromptMethod
from mocoop.methods.cocoop import CoCoOp
from mocoop.methods.coop import words_context
from mocoop.methods.mixture import Mixture
from mocoop.methods.mocoop.method import MoCoOp, initial_contexts
from mocoop.results.routing import Spread, over_seeds
from mocoop.runs.trained_run import TrainedRun, load_run

DIRECTIONS = 300  # random vectors of the baseline
MEANING = (
    "What this can mean: which word a context vector would be rounded to, and whether it lies nearer to a word than a "
    "random vector of its length does. What it cannot mean: that the prompt says that word. A vector that started at "
    "a word and moved little still has that word beside it whatever it learned, and one that is as far from all words "
    "as a random vector is near none; CLIP reads all vectors together, not one by one."
)


@dataclass(frozen=True)
class Span:
    """Context vectors of one expert on one side of the class name.

    Attributes:
        expert: its name; a class name where each class has a context; empty where there is one for all.
        side: "before" or "after" the class name.
        vectors: (n, width).
        start: (n, width) where they started, or None for noise.
        words: the n tokens that they started from, or None.
    """

    expert: str
    side: str
    vectors: Tensor
    start: Tensor | None = None
    words: list[str] | None = None


@dataclass(frozen=True)
class Position:
    """One context vector.

    Attributes:
        position: from 1, in its span.
        nearest: (token, distance), nearest first.
        norm: of the vector.
        start, moved: the token that it started from and its distance from there; None where it started from noise.
        random_mean, random_std: of the distance from a random vector of this norm to its nearest token.
        random_nearer: how many percent of the random vectors lie as near to a token.
    """

    expert: str
    side: str
    position: int
    nearest: list[tuple[str, float]]
    norm: float
    start: str | None
    moved: float | None
    random_mean: float
    random_std: float
    random_nearer: float


class Vocabulary:
    """CLIP's token embeddings; tokens that an embedded CLIP was never trained on are left out.

    Attributes:
        size: how many tokens there are.
        neighbour: the median distance of a token (of 300) to the nearest other one.
    """

    def __init__(self, token_embedding: Tensor, tokenizer: Tokenizer = TOKENIZER):
        self.tokenizer = tokenizer
        self.ids = token_embedding.abs().sum(-1).nonzero().squeeze(1)  # never trained: zero
        self.rows = token_embedding[self.ids].float().cpu()  # (V, width)
        self.squares = self.rows.square().sum(-1)
        self.size = len(self.ids)
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(DIRECTIONS, self.rows.shape[1], generator=generator)
        self._products = torch.nn.functional.normalize(directions, dim=-1) @ self.rows.t()  # (DIRECTIONS, V)
        sample = self.rows[torch.randperm(self.size, generator=generator)[:DIRECTIONS]]
        self.neighbour = float(torch.cdist(sample, self.rows).topk(2, largest=False).values[:, 1].median())

    def nearest(self, vectors: Tensor, top: int) -> list[list[tuple[str, float]]]:
        """The `top` nearest tokens of each vector (n, width)."""
        distances = torch.cdist(vectors, self.rows, compute_mode="donot_use_mm_for_euclid_dist")
        found = distances.topk(min(top, self.size), largest=False)
        return [
            [(self.tokenizer.text_of(int(self.ids[row])), distance) for row, distance in zip(rows, distances)]
            for rows, distances in zip(found.indices.tolist(), found.values.tolist())
        ]

    def random_distances(self, norm: float) -> Tensor:
        """(DIRECTIONS,) distances of random vectors of a norm to their nearest tokens."""
        squares = (self.squares - 2 * norm * self._products).min(-1).values + norm**2
        return squares.clamp_min(0).sqrt()


def interpret(run: TrainedRun, vocabulary: Vocabulary, top: int = 5) -> Iterator[Position]:
    """Every context vector of a run, expert by expert. Raises ConfigError for a method without any."""
    for span in spans_of(run):
        vectors = span.vectors.detach().float().cpu()
        for i, nearest in enumerate(vocabulary.nearest(vectors, top)):
            norm = float(vectors[i].norm())
            random = vocabulary.random_distances(norm)
            yield Position(
                expert=span.expert,
                side=span.side,
                position=i + 1,
                nearest=nearest,
                norm=norm,
                start=span.words[i] if span.words else None,
                moved=None if span.start is None else float((vectors[i] - span.start[i].float().cpu()).norm()),
                random_mean=float(random.mean()),
                random_std=float(random.std()),
                random_nearer=float(100.0 * (random <= nearest[0][1]).float().mean()),
            )


def spans_of(run: TrainedRun) -> list[Span]:
    """The contexts of a run's method. Raises ConfigError for a method that learned none."""
    method = run.method
    if isinstance(method, MoCoOp):
        return _expert_spans(method)
    if isinstance(method, Mixture):
        experts = zip(method.group_names, cast(Iterable[PromptMethod], method.experts))
        found = [(name, span) for name, expert in experts for span in _spans(expert, expert.settings)]
        return [replace(span, expert=f"{name} {span.expert}".strip()) for name, span in found]
    return _spans(method, method.entry.settings(run.cfg))


def _spans(method: PromptMethod, node: CfgNode) -> list[Span]:
    ctx = getattr(method, "ctx", None)
    if not isinstance(ctx, Tensor):
        raise ConfigError(f"{method.entry.name} learns no context: there is nothing to interpret")
    if ctx.dim() == 3:
        pairs = zip(method.classnames, ctx)
        return [span for name, vectors in pairs for span in _split(name, vectors, None, None, node)]
    expert = "without an image's shift" if isinstance(method, CoCoOp) else ""
    text = node.get("CTX_INIT", "")
    text = text if isinstance(text, str) else ""  # ProGrad's words, if any, follow noise
    words = _words(text, method.clip_model.tokenizer)
    if len(words) < max(len(ctx), 1):  # it starts from noise
        return _split(expert, ctx, None, None, node)
    return _split(expert, ctx, words_context(text, method.clip_model), words, node)


def _expert_spans(method: MoCoOp) -> list[Span]:
    spans = []
    for g, (name, templates) in enumerate(method.groups.items()):
        starts = initial_contexts(templates, method.settings.INIT, method.clip_model)
        words = split_template(templates[0])
        for side, vectors, start, text in zip(
            ("before", "after"), (method.ctx_before[g], method.ctx_after[g]), starts, words
        ):
            first = _words(text, method.clip_model.tokenizer) if method.settings.INIT == "first" else None
            if len(vectors):
                spans.append(Span(name, side, vectors, start, first))
    return spans


def _split(expert: str, vectors: Tensor, start: Tensor | None, words: list[str] | None, node: CfgNode) -> list[Span]:
    """CoOp's context before and after the class name, as CLASS_TOKEN_POSITION says."""
    before = {"end": len(vectors), "middle": len(vectors) // 2, "front": 0}[node.get("CLASS_TOKEN_POSITION", "end")]
    parts = {"before": slice(0, before), "after": slice(before, None)}
    spans = [
        Span(expert, side, vectors[part], None if start is None else start[part], words and words[part])
        for side, part in parts.items()
    ]
    return [span for span in spans if len(span.vectors)]


def _words(text: str, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.text_of(token) for token in tokenizer.encode(readable(text))]


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
