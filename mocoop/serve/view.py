"""What the page shows, as HTML. The template engine escapes everything that comes from files and visitors."""

from collections.abc import Sequence

import jinja2

from mocoop.errors import one_line
from mocoop.runs.trained_run import TrainedRun
from mocoop.serve.answers import Answer, Expert
from mocoop.serve.session import Seen

_LOADER = jinja2.PackageLoader("mocoop.serve", "template")
_ENVIRONMENT = jinja2.Environment(
    loader=_LOADER,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def asset(name: str) -> str:
    """A file of the template folder as text."""
    return _LOADER.get_source(_ENVIRONMENT, name)[0]


def heading(runs: Sequence[TrainedRun]) -> str:
    """The page's head: which runs answer."""
    return _ENVIRONMENT.get_template("heading.html").render(runs=[(title(run), facts(run)) for run in runs])


def title(run: TrainedRun) -> str:
    return one_line(f"{run.method.entry.name} on {run.cfg.DATASET.NAME}", 80)


def facts(run: TrainedRun) -> str:
    """What tells a run from others of its method and data."""
    shots = [f"{run.cfg.DATASET.NUM_SHOTS} shots"] if run.checkpoint and run.cfg.DATASET.NUM_SHOTS > 0 else []
    experts = [f"{len(run.group_names)} experts"] if run.group_names else []
    backbone = run.cfg.MODEL.BACKBONE.NAME.rsplit("/", 1)[-1] if "." in run.cfg.MODEL.BACKBONE.NAME else None
    return " · ".join([f"CLIP {backbone or run.cfg.MODEL.BACKBONE.NAME}", *shots, *experts, f"seed {run.cfg.SEED}"])


def notice(text: str, is_error: bool = False) -> str:
    """One line above the answers; empty for an empty text."""
    return _ENVIRONMENT.get_template("notice.html").render(text=one_line(text, 500), is_error=is_error) if text else ""


def caption(seen: Seen) -> str:
    """What stands below a picture among others."""
    name, probability = seen.answers[0].classes[0]
    return f"{'' if seen.agreed else '≠ '}{one_line(name, 40)} {100 * probability:.0f}\u00a0%"


def summary(images: Sequence[Seen]) -> str:
    """How many images there are, and for two runs, on how many they agree."""
    if len(images) == 1:
        return "1 image."
    agreed = f"; both runs name the same class for {sum(seen.agreed for seen in images)}"
    return f"{len(images)} images{agreed if len(images[0].answers) > 1 else ''}. Choose one to see why."


def details(seen: Seen, runs: Sequence[TrainedRun]) -> str:
    """The answers to one image, a card for each run."""
    cards = [(title(run), facts(run), answer, why(answer)) for run, answer in zip(runs, seen.answers)]
    return _ENVIRONMENT.get_template("answers.html").render(seen=seen, cards=cards, bar=bar)


def why(answer: Answer) -> str:
    """Who answered, and whether the groups' own similarity would have chosen the same; empty without experts."""
    if not answer.experts:
        return ""
    chosen = [expert for expert in answer.experts if expert.weight is not None]
    nearest = sorted(answer.experts, key=lambda expert: -expert.similarity)[: len(chosen)]
    shared = {expert.name for expert in chosen} & {expert.name for expert in nearest}
    who = _and([f"{expert.name} ({100 * (expert.weight or 0):.0f} %)" for expert in chosen])
    agreement = "the same" if len(shared) == len(chosen) else _and([expert.name for expert in nearest])
    return f"{who} answered. Nearest by hand-written prompts: {agreement}."


def bar(value: float, experts: Sequence[Expert]) -> float:
    """Width in percent of a similarity's bar, from the least similar group to the most similar."""
    values = [expert.similarity for expert in experts]
    low, high = min(values), max(values)
    return 100 * (value - low) / (high - low) if high > low else 100


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
