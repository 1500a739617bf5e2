import argparse
import json
import re

import pytest

from mocoop.errors import ConfigError, DataError
from mocoop.results.record import unfinished_record, write_record
from mocoop.tools import table
from tests.results.logs import add_log
from tests.results.runs import add_answers, add_base_new, add_run, make_config, make_record


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    table.add_arguments(parser)
    return table.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def out_of(tmp_path, capsys):
    """What the tool prints of a tree with three methods, with some options."""
    for method, lead in (("CoOp", 0.0), ("CoCoOp", 0.0), ("MoCoOp", 4.0)):
        add_base_new(tmp_path, {n: 78.0 + 2 * n + lead for n in (1, 2, 3)}, {1: 70.0 + lead}, method=method)

    def out_of(*options) -> str:
        capsys.readouterr()
        assert run(tmp_path, *options) == 0
        return re.sub(" +", " ", capsys.readouterr().out)

    return out_of


def test_base_to_new_is_the_default_and_methods_and_seeds_can_be_chosen(out_of, caplog):
    out = out_of("--seeds", "1")
    assert "### Base to new classes" in out and "| shapes_both | CoOp | 80.00 | 70.00 | 74.67 |" in out
    lines = out_of("--methods", "CoOp,MoCoOp", "--seeds", "1", "--format", "csv").splitlines()
    assert [line.split(",")[1] for line in lines] == ["Method", "CoOp", "MoCoOp"] and ",80.0,,70.0,," in lines[1]
    out = out_of("--seeds", "1,4")
    assert "| – | – | – |" in out and "no base result for seed 4" in out
    caplog.clear()
    out_of("--methods", "CoOp,Typo", "--datasets", "shapes_both,typo")
    assert [record.getMessage() for record in caplog.records] == ["no run has dataset typo", "no run has method Typo"]


def test_intervals_and_tables_per_class(out_of):
    out = out_of("--spread", "ci95")
    assert "82.00 ± 4.97" in out and "95 % confidence interval" in out  # 4.303 * 2 / sqrt(3)
    assert "Base,Base ci95,New,New ci95" in out_of("--spread", "ci95", "--format", "csv")
    out = out_of("--per-class", "--seeds", "1", "--methods", "CoOp")
    assert "### shapes_both, train_base, per class" in out and "| cat | 10000 | 80.00 |" in out


@pytest.mark.parametrize("status", ["running", "failed", None])
def test_a_run_that_did_not_finish_is_a_gap_and_named(tmp_path, capsys, caplog, status):
    add_base_new(tmp_path, {1: 80.0, 2: 80.0}, {1: 70.0, 2: 70.0})
    (tmp_path / "base2new/test_new/shapes_both/shots_16/CoOp/tiny/seed2/result.json").unlink()
    if status:
        folder = tmp_path / "base2new/test_new/shapes_both/shots_16/CoOp/tiny/seed2"
        write_record(folder / "result.json", unfinished_record(make_config(seed=2), status))
    add_run(tmp_path, 50.0, seed=3, method="CoCoOp").joinpath("result.json").unlink()
    with pytest.raises(DataError, match="no finished run with protocol base2new"):
        run(tmp_path, "--methods", "CoCoOp")
    assert "did not finish" in caplog.text
    caplog.clear()
    run(tmp_path)
    out = capsys.readouterr().out
    assert "| shapes_both | CoOp   |    – |   – |   – |" in out and "| shapes_both | CoCoOp |    – |   – |   – |" in out
    assert "CoOp: no new result for seed 2, 3" in out and "CoCoOp: no result" in out
    assert len(caplog.records) == 2 and (f"the run is {status}" if status else "did not finish") in caplog.text


def test_few_shot_has_a_table_per_number_of_shots(tmp_path, capsys):
    for shots in (1, 16):
        add_run(tmp_path, 60.0, protocol="few_shot", phase="train_all", shots=shots)
    run(tmp_path, "--protocol", "few_shot")
    out = capsys.readouterr().out
    titles = [line for line in out.splitlines() if line.startswith("###")]
    assert titles == ["### Few-shot", "### Few-shot, 1 shot", "### Few-shot, 16 shots"]


def test_two_folders_can_be_given_by_hand(tmp_path, capsys):
    add_base_new(tmp_path, {1: 84.24}, {1: 75.67})
    run("--base", tmp_path / "base2new/train_base", "--new", tmp_path / "base2new/test_new")
    assert "79.73" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, message",
    [
        (["--base", "base2new/train_base", "--new", "base2new/train_base"], "got a run on base classes in --new"),
        (["--base", "base2new/test_new", "--new", "base2new/train_base"], "got a run on new classes in --base"),
        (["--base", "base2new/train_base"], "expected both"),
        ([".", "--published-csv", "own.csv"], "expected --published or --published-only with it"),
        ([".", "--published", "output"], "got published method 'output', expected one of CLIP"),
        ([".", "--methods", "MoCoOp"], "no finished run with protocol base2new, method MoCoOp"),
    ],
)
def test_what_cannot_be_put_into_a_table_is_refused(tmp_path, monkeypatch, options, message):
    add_base_new(tmp_path, {1: 84.24}, {1: 75.67})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        run(*options)


@pytest.mark.parametrize("field, value", [("weights_sha256", ["a"]), ("command", "train"), ("clip_sha256", {"a": 1})])
def test_one_spoiled_record_ends_nothing(tmp_path, capsys, caplog, field, value):
    add_base_new(tmp_path, {1: 84.24, 2: 80.0}, {1: 75.67, 2: 70.0})
    path = tmp_path / "base2new/test_new/shapes_both/shots_16/CoOp/tiny/seed2/result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert run(tmp_path) == 0
    (record,) = caplog.records
    assert f"{path}: got {field} = " in record.getMessage() and "no new result for seed 2" in capsys.readouterr().out


def by_hand(folder, accuracy, **identity):
    """A run as `train.py --output-dir FOLDER` leaves it."""
    folder.mkdir(parents=True)
    write_record(folder / "result.json", make_record(accuracy, **identity))
    return folder


TEST_OF_TRY = {"command": {"eval_only": True, "model_dir": "output/try", "load_epoch": None}}


def test_runs_by_hand_are_read_by_their_records(tmp_path, capsys, caplog):
    folder = by_hand(tmp_path / "output/try", 80.0, dataset="OxfordPets", classes="base", weights_sha256="a" * 64)
    new = {"shots": -1, "classes": "new", "weights_sha256": "a" * 64, "more": TEST_OF_TRY}
    by_hand(tmp_path / "output/try_on_new", 60.0, dataset="OxfordPets", **new)
    run(tmp_path / "output")
    assert "| oxford_pets | CoOp   | 80.00 | 60.00 | 68.57 |" in capsys.readouterr().out
    place = "oxford_pets/shots_16/CoOp/try/seed1"
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: counts by its record; the scripts' place for it is base2new/train_base/{place}",
        f"{folder}_on_new: counts by its record; the scripts' place for it is base2new/test_new/{place}",
    ]
    run(folder)
    assert "no new result for seed 1" in capsys.readouterr().out


def test_runs_by_hand_join_those_of_scripts_with_the_same_settings(tmp_path, capsys):
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, weights_sha256="a" * 64)
    settings = {"shots": 16, "classes": "base"}
    by_hand(tmp_path / "mine/seed2", 82.0, seed=2, weights_sha256="b" * 64, **settings)
    by_hand(tmp_path / "again", 10.0, seed=1, **settings)  # in its own row, as that seed is there
    run(tmp_path)
    out = capsys.readouterr().out
    assert "CoOp tiny" in out and "CoOp again" in out and "CoOp tiny: no new result for seed 2" in out


@pytest.mark.parametrize("by_scripts", [False, True])
def test_a_model_tested_by_hand_on_other_data_is_transfer(tmp_path, capsys, by_scripts):
    if by_scripts:
        where = {"protocol": "few_shot", "phase": "train_all", "dataset": "imagenet"}
        add_run(tmp_path, 70.0, weights_sha256="a" * 64, **where)
    else:
        by_hand(tmp_path / "source", 70.0, dataset="ImageNet", weights_sha256="a" * 64)
    for name, accuracy in (("EuroSAT", 40.0), ("ImageNetA", 20.0)):
        by_hand(tmp_path / name, accuracy, dataset=name, shots=-1, weights_sha256="a" * 64, more=TEST_OF_TRY)
    run(tmp_path, "--protocol", "xd")
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == "| Method | imagenet (source) | eurosat |".split()
    assert "| CoOp   |             70.00 |   40.00 |" in lines[4]
    run(tmp_path, "--protocol", "dg")
    assert "20.00" in capsys.readouterr().out


def test_base_and_new_of_two_trainings_are_not_joined(tmp_path, capsys, caplog):
    for seed in (1, 2):
        add_run(tmp_path, 80.0, seed=seed, weights_sha256=f"trained-{seed}")
    add_run(tmp_path, 60.0, phase="test_new", seed=1, weights_sha256="trained-1")
    other = add_run(tmp_path, 60.0, phase="test_new", seed=2, weights_sha256="trained-before")
    assert run(tmp_path) == 0
    left_out = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert left_out == [f"left out: {other}: tested another model than the one of base2new/train_base; test again"]
    assert "seed 2" in capsys.readouterr().out  # the gap is named
    add_run(tmp_path, 60.0, phase="test_new", seed=2, weights_sha256="trained-2")
    assert run(tmp_path) == 0
    assert "80.0" in capsys.readouterr().out


def test_targets_of_another_training_than_the_source_are_left_out(tmp_path, capsys, caplog):
    add_run(tmp_path, 80.0, protocol="xd", phase="train", dataset="a", weights_sha256="one")
    add_run(tmp_path, 60.0, protocol="xd", phase="test", dataset="b", weights_sha256="one")
    add_run(tmp_path, 70.0, protocol="xd", phase="test", dataset="c", weights_sha256="two")
    assert run(tmp_path, "--protocol", "xd") == 0
    assert len([record for record in caplog.records if "tested another model" in record.getMessage()]) == 1
    out = capsys.readouterr().out
    assert "60.0" in out and "70.0" not in out


def test_schedules_that_differ_by_dataset_are_one_method_unless_asked_for(tmp_path, capsys):
    for dataset, cfg in (("imagenet", "ep50"), ("dtd", "ep200")):
        add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, dataset=dataset, cfg=cfg)
    run(tmp_path)
    out = capsys.readouterr().out
    assert "| average  | CoOp   | 80.00 | 60.00 | 68.57 |" in out
    assert "CoOp: its configurations differ by data set or shots (ep200, ep50)" in out
    run(tmp_path, "--cfgs", "ep50,ep200")
    assert "CoOp ep50" in capsys.readouterr().out


def test_dg_shows_the_source_that_is_kept_with_xd(tmp_path, capsys):
    add_run(tmp_path, 71.0, protocol="xd", phase="train", dataset="imagenet", cfg="a")
    add_run(tmp_path, 72.0, protocol="xd", phase="train", dataset="imagenet", cfg="b")
    for dataset, accuracy in (("imagenet_r", 76.0), ("imagenetv2", 64.0)):
        add_run(tmp_path, accuracy, protocol="dg", phase="test", dataset=dataset, cfg="a")
    run(tmp_path, "--protocol", "domain_generalization")
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| Method | imagenet (source) | imagenetv2 | imagenet_r | average |"
    assert lines[4].split() == "| CoOp | 71.00 | 64.00 | 76.00 | 70.00 |".split() and lines[5] == ""


def test_old_logs_stand_beside_new_results(tmp_path, capsys):
    for seed in (1, 2):
        add_base_new(tmp_path / "new", {seed: 80.0}, {seed: 60.0}, dataset="dtd", cfg="c")
        for phase, classes, correct in (("train_base", "base", 70), ("test_new", "new", 50)):
            log = {"correct": 100 * correct, "total": 10000, "classes": classes, "seed": seed, "backbone": "tiny"}
            add_log(tmp_path / "old", f"base2new/{phase}/dtd/shots_16/CoOp/c/seed{seed}", **log)
    run(tmp_path / "new", "--logs", tmp_path / "old", "--methods", "CoOp")
    out = " ".join(capsys.readouterr().out.split())
    assert "| CoOp | **80.00 ± 0.00** | **60.00 ± 0.00** | **68.57 ± 0.00** |" in out
    assert "| CoOp (from log.txt) | 70.00 ± 0.00 | 50.00 ± 0.00 | 58.33 ± 0.00 |" in out
    run("--logs", tmp_path / "old")
    assert "58.33" in capsys.readouterr().out


@pytest.mark.parametrize("also_as_output", [False, True])
def test_a_tree_in_which_coop_and_mocoop_ran_side_by_side(tmp_path, capsys, caplog, also_as_output):
    for phase, classes, correct in (("train_base", "base", 70), ("test_new", "new", 50)):
        add_log(tmp_path, f"base2new/{phase}/dtd/shots_16/CoOp/c/seed1", correct=correct, total=100, classes=classes)
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, dataset="dtd", cfg="c", method="MoCoOp", backbone="ViT-B/16")
    run(*([tmp_path] if also_as_output else []), "--logs", tmp_path)
    out = capsys.readouterr().out
    assert methods_of(out) == ["MoCoOp", "CoOp"] and "–" not in out and not caplog.records


def methods_of(out: str) -> list[str]:
    return [line.split()[3] for line in out.splitlines() if line.startswith("| dtd")]


def test_few_shot_runs_side_by_side_lie_where_coops_scripts_put_them(tmp_path, capsys):
    add_log(tmp_path, "dtd/CoOp/c_16shots/nctx16/seed1", correct=70, total=100)
    made = add_run(tmp_path / "made", 80.0, phase="train_all", method="MoCoOp", backbone="ViT-B/16")
    (tmp_path / "dtd/MoCoOp/c_16shots").mkdir(parents=True)
    made.rename(tmp_path / "dtd/MoCoOp/c_16shots/seed1")
    run("--logs", tmp_path, "--protocol", "few_shot")
    assert methods_of(capsys.readouterr().out) == ["MoCoOp", "CoOp"]
    with pytest.raises(DataError, match="no finished run with protocol base2new; there are some of few_shot: add --p"):
        run("--logs", tmp_path)
    with pytest.raises(DataError, match="protocol base2new, dataset sun397; make one by mocoop run"):
        run("--logs", tmp_path, "--datasets", "sun397")
    with pytest.raises(DataError, match="protocol few_shot, without dtd; make one by mocoop run"):
        run("--logs", tmp_path, "--protocol", "few_shot", "--without", "dtd")
    with pytest.raises(DataError, match="protocol few_shot, shots 4 all; make one by mocoop run"):
        run("--logs", tmp_path, "--protocol", "few_shot", "--shots", "all,4")


def test_the_same_run_twice_does_not_count(tmp_path, caplog):
    add_log(tmp_path / "logs", "dtd/CoOp/c_16shots/seed1")
    with pytest.raises(DataError, match="no finished run"):
        run("--logs", tmp_path / "logs", "--logs", tmp_path / "logs", "--protocol", "few_shot")
    assert caplog.text.count("the same run lies in another folder too") == 2
    caplog.clear()
    for folder, phase in (("base", "train_base"), ("new", "test_new")):
        (tmp_path / folder).mkdir()
        for name in ("first", "second"):
            add_run(tmp_path / "made" / name, 50.0, phase=phase).rename(tmp_path / folder / name)
    with pytest.raises(DataError, match="no finished run"):
        run("--base", tmp_path / "base", "--new", tmp_path / "new")
    assert caplog.text.count("the same run lies in another folder too") == 4


def test_published_numbers_stand_beside_ours_and_ones_own_csv_fills_what_is_not_available(tmp_path, capsys):
    for method in ("CoOp", "MoCoOp"):
        add_base_new(tmp_path, {1: 95.0}, {1: 96.0}, dataset="oxford_pets", method=method, backbone="ViT-B/16")
    run(tmp_path, "--published", "--format", "csv", "--methods", "CoOp")
    blocks = capsys.readouterr().out.split("\n\n")
    row = dict(zip(*(line.split(",") for line in blocks[1].splitlines())))
    published = [row[name] for name in ("Published", "Base (publ.)", "New (publ.)", "H (publ.)")]
    assert published == ["CoOp", "93.67", "95.29", "94.47"]
    assert float(row["Δ Base"]) == pytest.approx(1.33) and row["Source"] == "[1]"
    run(tmp_path, "--published", "--methods", "MoCoOp")
    assert "not available in machine-readable form" in capsys.readouterr().out
    head = "protocol,method,backbone,dataset,shots,split,value,source"
    (tmp_path / "own.csv").write_text(f"{head}\nbase2new,MoCoOp,ViT-B/16,oxford_pets,16,base,90.00,my copy\n")
    run(tmp_path, "--published", "--published-csv", tmp_path / "own.csv", "--methods", "MoCoOp")
    out = capsys.readouterr().out
    assert "[1] my copy" in out and "+5.00" in out and "not available" not in out


def test_published_numbers_alone_need_no_run_and_take_no_choice_of_runs(tmp_path, capsys):
    run("nowhere", "--published-only", "--methods", "ZeroshotCLIP,CoOp,CoCoOp")
    out = capsys.readouterr().out
    for line in ("CLIP | 69.34 | 74.22 | 71.70", "CoOp | 82.69 | 63.22 | 71.66", "CoCoOp | 80.47 | 71.69 | 75.83"):
        assert f"| average | {line} |" in " ".join(out.replace("**", "").split())
    with pytest.raises(DataError, match="got --shots, --per-class beside --published-only"):
        run("--published-only", "--shots", "4", "--per-class")
    with pytest.raises(DataError, match="no number of protocol base2new_all is published"):
        run("--published-only", "--protocol", "base2new_all")


def test_tables_are_written_once(tmp_path, capsys):
    add_base_new(tmp_path, {1: 84.24}, {1: 75.67})
    path = tmp_path / "tables" / "table.md"
    run(tmp_path, "--output-file", path)
    assert "79.73" in path.read_text() and capsys.readouterr().out == ""
    with pytest.raises(ConfigError, match="exists and is not overwritten"):
        run(tmp_path, "--output-file", path)
    run(tmp_path, "--output-file", path, "--format", "csv", "--force")
    assert path.read_text().startswith("Dataset,Method,Base")


def test_configurations_are_compared_with_the_one_that_is_named(tmp_path):
    for cfg, dataset in (("ca", "a"), ("cb", "b")):
        add_answers(tmp_path, "CoOp", 0.8, cfg=cfg, dataset=dataset)
    add_answers(tmp_path, "MoCoOp", 0.8, dataset="a")
    with pytest.raises(DataError, match="CoOp may be CoOp/ca, CoOp/cb; name one of them"):
        run(tmp_path, "--cfgs", "ca,cb,tiny", "--against", "CoOp")
