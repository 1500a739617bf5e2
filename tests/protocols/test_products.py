"""What a protocol ends in counts the runs that were asked for, and names those of them that cannot be used."""

from mocoop.protocols.plan import Run
from mocoop.protocols.products import protocol_figures, read_runs
from mocoop.results.runs import collect
from tests.results.runs import add_run, make_routing


def test_an_unusable_run_is_named_and_no_seed_taken_for_another_that_begins_like_it(tmp_path, caplog):
    runs = [Run(str(add_run(tmp_path / "output", 50.0, seed=n).relative_to(tmp_path)), n, ()) for n in (1, 10)]
    (tmp_path / runs[1].folder / "result.json").write_text("{}")
    assert read_runs(runs[:1], [], tmp_path)["seed"].tolist() == [1]
    assert not caplog.records
    assert read_runs(runs, [], tmp_path)["accuracy"].tolist()[0] == 50.0
    assert len(caplog.records) == 1 and "seed10" in caplog.records[0].getMessage()


def test_each_method_that_routes_has_a_figure_of_its_own(tmp_path):
    by_style = {"photo": [90.0, 10.0], "dark": [10.0, 90.0]}
    routing = make_routing(["photo", "dark"], 1, 90.0) | {"chosen": [50.0, 50.0], "chosen_by_domain": by_style}
    add_run(tmp_path, 50.0, method="MoCoOp", routing=routing), add_run(tmp_path, 50.0, phase="test_new")
    add_run(tmp_path, 50.0, method="CoOp")
    names = [name for name, _ in protocol_figures("base2new", collect(tmp_path).frame, [1])]
    assert names == ["base_new", "base_against_new", "routing"]
    add_run(tmp_path, 50.0, method="Mixture", routing=routing)
    names = [name for name, _ in protocol_figures("base2new", collect(tmp_path).frame, [1])]
    assert names[2:] == ["routing_Mixture_tiny", "routing_MoCoOp_tiny"]
