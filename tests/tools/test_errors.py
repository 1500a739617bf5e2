import pandas as pd
import pytest

from tests.results.test_csv_files import add_tested
from tests.tools.tool import Tool


@pytest.fixture
def errors(capsys):
    return Tool("errors", capsys)


def test_the_summary(errors, tmp_path):
    status, out, _ = errors(add_tested(tmp_path))
    lines = out.splitlines()
    assert status == 0 and lines[0].endswith("4 of 6 images wrong (66.7 %)")
    assert "   33.3 %  cat (1 of 3, most often taken for dog)" in lines
    assert "     2  cat taken for dog (67 % of the class)" in lines
    assert any("calibration: its mean confidence is 40.8 points above its accuracy" in line for line in lines)
    assert lines[-1] == "most confident error: pets/5.png, crane taken for dog with 95.0 %"


def test_the_tables(errors, tmp_path):
    run, out = add_tested(tmp_path / "run"), tmp_path / "tables"
    assert errors(run, "--out", out)[0] == 0
    table = pd.read_csv(out / "errors.csv")
    assert list(table.columns) == ["path", "truth", "prediction", "confidence", "domain", "experts", "gates"]
    assert table["confidence"].tolist() == [0.95, 0.8, 0.6, 0.5]
    assert len(pd.read_csv(out / "per_class.csv")) == 4
    assert list(pd.read_csv(out / "confusions.csv").columns) == ["truth", "prediction", "count", "share"]
    status, _, err = errors(run, "--out", out, "--all")
    assert status == 2 and "errors.csv exists and is not overwritten" in err
    assert errors(run, "--out", out, "--all", "--force")[0] == 0
    assert pd.read_csv(out / "errors.csv")["right"].tolist() == [False] * 4 + [True] * 2


def test_a_trained_run_and_one_that_is_none(errors, tmp_path, trained_runs):
    assert errors(tmp_path / "gone")[2].startswith("error: no run ")
    status, out, _ = errors(trained_runs.of("mocoop"))
    assert status == 0 and "of 160 images wrong" in out
