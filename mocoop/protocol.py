"""What a protocol is: its kinds of runs, what each needs, and what they are compared by.

Whatever plans, runs, tabulates or reports a protocol reads it here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

ELEVEN = "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
SHIFTED = "imagenetv2 imagenet_sketch imagenet_a imagenet_r"
BASE_NEW, CURVE, TRANSFER = "base_new", "curve", "transfer"  # what runs are compared by
BOTH = "base+new"  # the DATASET.SUBSAMPLE_CLASSES of tests on base and new images among all names
SUBSETS = ("all", "base", "new", BOTH)  # of the classes, for DATASET.SUBSAMPLE_CLASSES


@dataclass(frozen=True)
class Phase:
    """One kind of run, which lies in <protocol>/<name> below the output folder.

    classes: the DATASET.SUBSAMPLE_CLASSES that it trains or tests on. model: the phase whose model it tests; if None,
    it trains one and tests that. on_source: it runs on the source, whichever datasets are named. same_classes: a test's
    are among those that its model was trained on.
    """

    protocol: str
    name: str
    classes: str
    model: "Phase | None" = None
    on_source: bool = False
    same_classes: bool = False

    @property
    def has_new_classes(self) -> bool:
        return self.model is not None and not self.same_classes

    @property
    def folder(self) -> str:
        return f"{self.protocol}/{self.name}"


@dataclass(frozen=True)
class Protocol:
    """phases: in their order; one that another protocol shares lies with that one.

    datasets: those of the papers; a source is no target of its own. measure: BASE_NEW (base, new and H), CURVE
    (accuracy by shots) or TRANSFER (accuracy on the source and on targets). shots: the curve's, by default. title,
    about, terms: for those who read its results.
    """

    title: str
    about: str
    phases: tuple[Phase, ...]
    datasets: tuple[str, ...]
    measure: str
    alias: str = ""
    shots: tuple[int, ...] = ()
    terms: dict[str, str] = field(default_factory=dict)


_TRAIN_BASE = Phase("base2new", "train_base", "base")
_TRAIN_SOURCE = Phase("xd", "train", "all", on_source=True)

PROTOCOLS = {
    "base2new": Protocol(
        "Base to new classes",
        "Each method learns from a few images of the base classes of a dataset and is tested on other images of "
        "these, and on the new classes, of which it has seen none.",
        (_TRAIN_BASE, Phase("base2new", "test_new", "new", _TRAIN_BASE)),
        tuple(ELEVEN.split()),
        BASE_NEW,
        terms={
            "base, new": "The first half of a dataset's classes, which a method learns from, and the second half, "
            "which it has never seen: new classes are told apart by their names alone.",
            "H": "The harmonic mean of base and new accuracy, 2 · base · new / (base + new). It is high only if both "
            "are.",
        },
    ),
    "base2new_all": Protocol(
        "Base and new classes among all names",
        "Each method learns from a few images of the base classes of a dataset, as in base to new. Its model is then "
        "tested on images of base and of new classes, and has the names of all of them to choose from.",
        (_TRAIN_BASE, Phase("base2new_all", "test_all", BOTH, _TRAIN_BASE)),
        tuple(ELEVEN.split()),
        BASE_NEW,
        terms={
            "among all names": "The generalised setting: a model does not know whether an image shows a base or a new "
            "class. Base, new and H come from one test of one model; they are lower than those among the names of "
            "each half.",
        },
    ),
    "few_shot": Protocol(
        "Few-shot learning",
        "Each method learns from a few images of every class of a dataset and is tested on others of the same classes.",
        (Phase("few_shot", "train_all", "all"),),
        tuple(ELEVEN.split()),
        CURVE,
        shots=(1, 2, 4, 8, 16),
    ),
    "xd": Protocol(
        "Cross-dataset transfer",
        "Each method learns one dataset, the source, and is then tested on others with other classes.",
        (_TRAIN_SOURCE, Phase("xd", "test", "all", _TRAIN_SOURCE)),
        tuple(ELEVEN.split()),
        TRANSFER,
        "cross_dataset",
        terms={
            "source, target": "The dataset that a method is trained on, and the others it is then tested on, untouched."
        },
    ),
    "dg": Protocol(
        "Domain generalization",
        "Each method learns one dataset, the source, and is then tested on versions of it that look different.",
        (_TRAIN_SOURCE, Phase("dg", "test", "all", _TRAIN_SOURCE, same_classes=True)),
        tuple(SHIFTED.split()),
        TRANSFER,
        "domain_generalization",
        terms={
            "source, target": "The dataset that a method is trained on, and shifted versions of it that it is then "
            "tested on, untouched."
        },
    ),
}
ALIASES = {protocol.alias: name for name, protocol in PROTOCOLS.items() if protocol.alias}
TRAINED = {phase.name for protocol in PROTOCOLS.values() for phase in protocol.phases if phase.model is None}


def in_dataset_order(names: Iterable[str]) -> list[str]:
    """Datasets in the order of the papers' tables, others after them; what follows a name after a space is kept."""
    known = {name: place for place, name in enumerate([*ELEVEN.split(), *SHIFTED.split()])}
    return sorted(names, key=lambda name: (known.get(name.split(" ")[0], len(known)), name))


def dataset_key(name: str) -> str:
    """One key for all names of a data set: `oxford_flowers`, `OxfordFlowers` and `Flowers102` have the same."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    return {"oxfordflowers": "flowers102", "describabletextures": "dtd"}.get(key, key)


def config_name(dataset: str, known: Iterable[str] = ()) -> str:
    """What configs, and so folders, call a registered data set: one of `known`, else as ours do, "oxford_pets"."""
    names = {dataset_key(name): name for name in [*ELEVEN.split(), *SHIFTED.split(), *known]}
    return names.get(dataset_key(dataset)) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", dataset).lower()


def base_count(classes: int) -> int:
    """How many of a dataset's classes are base classes: the first half, rounded up.

    The halves of CoOp's base-to-new protocol (CoCoOp, arXiv 2203.05557, section 4.1).
    """
    return (classes + 1) // 2


def part_of(name: str) -> tuple[Protocol, tuple[Phase, ...]]:
    """A protocol and its phases, or those of a part of it, such as base2new_train, xd_test."""
    if name in PROTOCOLS:
        return PROTOCOLS[name], PROTOCOLS[name].phases
    protocol, _, part = name.rpartition("_")
    return PROTOCOLS[protocol], tuple(p for p in PROTOCOLS[protocol].phases if p.name.startswith(part))
