"""What a tested run got wrong: its errors image by image, the pairs of classes it confuses, each class's accuracy.

Read from the run's predictions.csv and result.json.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.names import SEPARATOR
from mocoop.results.predictions import FILE_NAME as PREDICTIONS
from mocoop.results.predictions import answers_of
from mocoop.results.record import FILE_NAME as RECORD
from mocoop.results.record import read_record


@dataclass(frozen=True)
class Mistakes:
    """A run's test, image by image.

    Attributes:
        images: path, truth, prediction (class names), confidence, right, domain, of methods that route experts and
            gates, and the numbers label and predicted; errors first, the most confident first among them.
        record: the run's result.json.
    """

    images: pd.DataFrame
    record: dict

    def errors(self) -> pd.DataFrame:
        """The wrongly classified images, the most confident first."""
        return self.images[~self.images["right"]]

    def confusions(self) -> pd.DataFrame:
        """label, truth, prediction, count, share: images of a class that were taken for another, and how many percent.

        Most images first.
        """
        keys = ["label", "predicted"]  # two classes may bear one name
        pairs = self.errors().groupby(keys).agg(truth=("truth", "first"), prediction=("prediction", "first"))
        pairs["count"] = self.errors().groupby(keys).size()
        totals = self.images.groupby("label").size()
        pairs["share"] = 100.0 * pairs["count"] / totals.reindex(pairs.index.get_level_values("label")).to_numpy()
        order = {"by": ["count", "share", "truth"], "ascending": [False, False, True]}
        return pairs.sort_values(**order).reset_index()[["label", "truth", "prediction", "count", "share"]]

    def per_class(self) -> pd.DataFrame:
        """class, total, correct, accuracy (percent), taken_for (the class it is most often taken for), worst first.

        Classes without a test image come last, with an empty accuracy.
        """
        rows = pd.DataFrame(self.record["per_class"]).rename(columns={"classname": "class"})
        first = self.confusions().drop_duplicates("label").set_index("label")["prediction"]
        rows["taken_for"] = rows["label"].map(first).fillna("")
        columns = ["class", "total", "correct", "accuracy", "taken_for"]
        return rows[columns].sort_values(["accuracy", "class"], na_position="last", ignore_index=True)

    def overconfidence(self) -> float:
        """Mean confidence less accuracy, in percentage points: above 0 it claims more than it keeps."""
        return float(100.0 * (self.images["confidence"].mean() - self.images["right"].mean()))


def read_mistakes(folder: str | Path) -> Mistakes:
    """The test of the run in `folder`. Raises DataError if it has none, or its two files contradict each other."""
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        raise DataError(f"no run {folder}, expected the folder of one, with its {RECORD}")
    record = read_record(folder / RECORD)
    if record["status"] != "done":
        raise DataError(f"{folder}: the run is {record['status']}, expected one that is done")
    if not (folder / PREDICTIONS).is_file():
        raise DataError(f"{folder} holds no {PREDICTIONS}: test the run again, so that it is written")
    frame = answers_of(folder, record)
    names = [row["classname"] for row in record["per_class"]]
    right = frame["label"] == frame["prediction"]
    truth, prediction = ([names[label] for label in frame[key]] for key in ("label", "prediction"))
    images = frame.assign(truth=truth, right=right, predicted=frame["prediction"], prediction=prediction)
    columns = ["path", "truth", "prediction", "confidence", "right", "domain", "experts", "gates", "label", "predicted"]
    images = images[[name for name in columns if name in images.columns]].sort_values(
        ["right", "confidence"], ascending=[True, False], kind="stable"
    )
    return Mistakes(images.reset_index(drop=True), record)


def as_text(images: pd.DataFrame) -> pd.DataFrame:
    """A table of images as it is written: lists of experts and gates as in predictions.csv, without label numbers."""
    images = images.drop(columns=["label", "predicted"])
    if "experts" in images.columns:
        images["experts"] = images["experts"].map(SEPARATOR.join)
        images["gates"] = images["gates"].map(lambda gates: SEPARATOR.join(f"{gate:.6f}" for gate in gates))
    return images
