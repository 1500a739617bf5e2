"""What a protocol ends in counts the runs that were asked for, and names those of them that cannot be used."""

from mocoop.protocols.plan import Run
from mocoop.protocols.products import read_runs
from tests.results.runs import add_run


def test_a_seed_is_not_taken_for_another_that_begins_like_it(tmp_path, caplog):
    asked = add_run(tmp_path / "output", 50.0, seed=1)
    (add_run(tmp_path / "output", 50.0, seed=10) / "result.json").write_text("{}")
    run = Run(str(asked.relative_to(tmp_path)), 1, ())
    assert read_runs([run], [], tmp_path)["seed"].tolist() == [1]
    assert not caplog.records


def test_an_unusable_run_is_named(tmp_path, caplog):
    runs = [Run(str(add_run(tmp_path / "output", 50.0, seed=n).relative_to(tmp_path)), n, ()) for n in (1, 10)]
    (tmp_path / runs[1].folder / "result.json").write_text("{}")
    assert read_runs(runs, [], tmp_path)["accuracy"].tolist()[0] == 50.0
    assert len(caplog.records) == 1 and "seed10" in caplog.records[0].getMessage()
