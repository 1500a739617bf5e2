"""history.csv: rows per step, kept and cut when a run goes on."""

import pytest

from mocoop.errors import DataError
from mocoop.results.csv_files import HistoryWriter, read_history


def write(path, steps, steps_done=0, loss=1.0):
    history = HistoryWriter(path, steps_done)
    for step in steps:
        history.add(step, (step - 1) // 3 + 1, 0.002, {"loss": loss, "acc": 50.0})
    history.close()


def test_rows(tmp_path):
    write(tmp_path / "history.csv", [1, 2, 3, 4])
    frame = read_history(tmp_path / "history.csv")
    assert list(frame.columns) == ["step", "epoch", "lr", "loss", "acc"]
    assert frame["step"].tolist() == [1, 2, 3, 4] and frame["epoch"].tolist() == [1, 1, 1, 2]
    assert frame["lr"].tolist() == [0.002] * 4


def test_going_on_drops_what_is_computed_again(tmp_path):
    path = tmp_path / "history.csv"
    write(path, [1, 2, 3, 4])
    with open(path, "a") as file:
        file.write("5,2,0.0")  # cut short by a crash
    write(path, [3, 4, 5], steps_done=2, loss=2.0)
    frame = read_history(path)
    assert frame["step"].tolist() == [1, 2, 3, 4, 5] and frame["loss"].tolist() == [1.0, 1.0, 2.0, 2.0, 2.0]


def test_a_fresh_start_begins_a_fresh_history(tmp_path):
    write(tmp_path / "history.csv", [1, 2])
    write(tmp_path / "history.csv", [1])
    assert read_history(tmp_path / "history.csv")["step"].tolist() == [1]


@pytest.mark.parametrize(
    "text", [None, "", "a,b\n1,2\n", "step,epoch,lr,loss\n1,1,fast,2\n", "step,epoch,lr\n1,2,3,4,5\n1\n"]
)
def test_damage_is_one_clear_line(tmp_path, text):
    path = tmp_path / "history.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_history(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
