"""Hand-made runs of a method that routes, with their predictions and histories."""

import pandas as pd

from mocoop.results.csv_files import HISTORY, PREDICTIONS, predictions_frame, write_predictions
from tests.results.runs import add_run

EXPERTS = ["photo", "dark", "sketch"]
CHOICES = [  # label, prediction, style, experts, gates
    (0, 0, "photo", ("photo", "dark"), (0.9, 0.1)),
    (0, 1, "dark", ("dark", "photo"), (0.6, 0.4)),
    (1, 1, "dark", ("dark", "sketch"), (0.5, 0.5)),
    (1, 1, "photo", ("photo", "sketch"), (1.0, 0.0)),
]
ROUTING = {
    "groups": EXPERTS,
    "top_k": 2,
    "chosen": [75.0, 75.0, 50.0],
    "chosen_by_domain": {"photo": [100.0, 50.0, 50.0], "dark": [50.0, 100.0, 50.0]},
    "domain_in_top_k": 100.0,
    "gate_entropy": 0.4,
}


def routed_predictions(choices=CHOICES):
    """Predictions as `predictions_frame` gives them, image00.png and so on."""
    labels, predictions, styles, experts, gates = zip(*choices)
    paths = [f"/data/set/image{number:02}.png" for number in range(len(choices))]
    return predictions_frame(paths, labels, predictions, [0.5] * len(paths), styles, experts, gates, root="/data")


def counted(choices=CHOICES, classnames=("cat", "dog")) -> list[dict]:
    """`per_class` of the record of a test with these answers."""
    of_class = [[label == answer for label, answer, *_ in choices if label == n] for n in range(len(classnames))]
    return [
        {"label": n, "classname": name, "total": len(right), "correct": sum(right), "accuracy": 50.0}
        for n, (name, right) in enumerate(zip(classnames, of_class))
    ]


def add_routed_run(root, accuracy=50.0, classnames=("cat", "dog"), choices=CHOICES, history=True, **where):
    """A run of MoCoOp with predictions, and where it is trained with a history; returns its folder."""
    measured = {"per_class": counted(choices, classnames)}
    folder = add_run(root, accuracy, **({"method": "MoCoOp", "routing": ROUTING} | measured | where))
    write_predictions(folder / PREDICTIONS, routed_predictions(choices))
    if history:
        make_history().to_csv(folder / HISTORY, index=False)
    return folder


def make_history(steps=4, parts=True, start=2.0):
    """A history whose loss falls by 0.25 at each step."""
    numbers = range(1, steps + 1)
    loss = [start - 0.25 * number for number in numbers]
    frame = pd.DataFrame({"step": numbers, "epoch": 1, "lr": 0.01, "loss": loss, "acc": 50.0})
    return frame.assign(loss_ce=frame["loss"] - 1, loss_text=0.75, loss_gate=0.25) if parts else frame
