"""Hand-made runs: records and output trees without training anything."""

import json

import numpy as np

from mocoop.results.csv_files import predictions_frame, write_predictions
from mocoop.results.record import FILE_NAME, build_record

PHASE_CLASSES = {"train_base": "base", "test_new": "new", "test_all": "base+new"}


def make_config(
    dataset="ShapesBoth",
    method="CoOp",
    shots=16,
    seed=1,
    classes="all",
    root="/data",
    output="/output",
    backbone="tiny",
):
    return {
        "SEED": seed,
        "OUTPUT_DIR": output,
        "DATASET": {"NAME": dataset, "ROOT": root, "NUM_SHOTS": shots, "SUBSAMPLE_CLASSES": classes},
        "MODEL": {"BACKBONE": {"NAME": backbone}},
        "OPTIM": {"LR": 0.002, "BETAS": (0.9, 0.999)},
        "TRAINER": {"NAME": method},
    }


def make_record(
    accuracy=50.0, config=None, routing=None, weights_sha256=None, sides=None, per_class=None, more=None, **identity
):
    one = {"label": 0, "classname": "cat", "total": 10000, "correct": round(accuracy * 100), "accuracy": accuracy}
    config = config or make_config(**identity)
    learns = not config["TRAINER"]["NAME"].startswith("Zeroshot")
    metrics = dict.fromkeys(("accuracy", "macro_f1", "per_class_mean"), accuracy)
    return build_record(
        config,
        split="test",
        metrics=metrics | {"error_rate": 100 - accuracy, "top5": 100.0, "ece": 3.0} | (sides or {}),
        per_class=per_class or [one],
        epoch=10 if learns else None,
        selection="last_step" if learns else None,
        manifest_sha256="0" * 64,
        engine="lite",
        seconds={"train": 2.5, "test": 0.5},
        peak_memory_mb=100.0,
        routing=routing,
        weights_sha256=weights_sha256,
        **(more or {}),
    )


def make_routing(groups, top_k, domain_in_top_k):
    """The routing of a record, without the shares of single experts."""
    shares = {"chosen": [], "chosen_by_domain": {}}
    return {"groups": groups, "top_k": top_k, "domain_in_top_k": domain_in_top_k, **shares}


def add_run(root, accuracy, protocol="base2new", phase="train_base", dataset="shapes_both", cfg="tiny", **more):
    """Writes the result.json of one run where the scripts would; returns its folder. more: what `make_record` takes."""
    more = {"shots": 16, "method": "CoOp", "seed": 1, "classes": PHASE_CLASSES.get(phase, "all")} | more
    folder = root / protocol / phase / dataset / f"shots_{more['shots']}" / more["method"] / cfg / f"seed{more['seed']}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(json.dumps(make_record(accuracy, **more)))
    return folder


def add_base_new(root, base, new, **where):
    """Writes the base and the new run of each seed; base and new are {seed: accuracy}."""
    for seed, accuracy in base.items():
        add_run(root, accuracy, phase="train_base", seed=seed, **where)
    for seed, accuracy in new.items():
        add_run(root, accuracy, phase="test_new", seed=seed, **where)


def add_answers(root, method, right, seed=1, images=200, offset=0, sides=None, **where):
    """A run with predictions: `right` is the share of right answers, the harder images being wrong."""
    order = np.random.default_rng(seed).permutation(images)
    labels = np.arange(images) % 4
    answers = np.where(order < right * images, labels, (labels + 1) % 4)
    correct = answers == labels
    rows = [
        {"label": c, "classname": name, "total": int((labels == c).sum()), "correct": int(correct[labels == c].sum())}
        for c, name in enumerate(("cat", "dog", "cow", "hen"))
    ]
    folder = add_run(root, 100 * correct.mean(), method=method, seed=seed, sides=sides, per_class=rows, **where)
    paths = [f"/images/{number + offset:05d}.png" for number in range(images)]
    frame = predictions_frame(paths, labels, answers, np.full(images, 0.5), [""] * images)
    write_predictions(folder / "predictions.csv", frame)
    return folder
