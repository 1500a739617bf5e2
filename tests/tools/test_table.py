import argparse

import pytest

from mocoop.errors import DataError
from mocoop.tools import table
from tests.results.runs import add_base_new, add_run


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    table.add_arguments(parser)
    return table.run(parser.parse_args([str(argument) for argument in arguments]))


def test_base_to_new_is_the_default(tmp_path, capsys):
    add_base_new(tmp_path, {1: 84.24}, {1: 75.67}, method="MoCoOp")
    assert run(tmp_path) == 0
    assert "| shapes_both | MoCoOp | 84.24 | 75.67 | 79.73 |" in capsys.readouterr().out


def test_routing_follows_where_there_is_one(tmp_path, capsys):
    routing = {"groups": ["photo", "dark"], "top_k": 1, "domain_in_top_k": 94.0}
    add_run(tmp_path, 80.0, method="MoCoOp", routing=routing)
    run(tmp_path)
    assert "### Routing" in capsys.readouterr().out


def test_filters_and_formats(tmp_path, capsys):
    for method in ("CoOp", "CoCoOp", "MoCoOp"):
        add_base_new(tmp_path, {1: 80.0, 2: 81.0}, {1: 70.0}, method=method)
    run(tmp_path, "--methods", "CoOp,MoCoOp", "--seeds", "1", "--format", "csv")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[1] for line in lines] == ["Method", "CoOp", "MoCoOp"]
    assert ",,70.0,," in lines[1]


def test_an_asked_seed_that_is_missing_is_a_gap(tmp_path, capsys):
    add_base_new(tmp_path, {1: 80.0}, {1: 70.0})
    run(tmp_path, "--seeds", "1,2")
    out = capsys.readouterr().out
    assert "|    – |   – |   – |" in out and "no base result for seed 2" in out


def test_other_protocols_have_a_column_per_dataset(tmp_path, capsys):
    for dataset in ("caltech101", "dtd"):
        add_run(tmp_path, 60.0, protocol="xd", phase="test", dataset=dataset)
    run(tmp_path, "--protocol", "xd")
    out = capsys.readouterr().out
    assert "### xd, phase test" in out and "| Method | caltech101 |   dtd | average |".replace(
        "  ", " "
    ) in out.replace("  ", " ")


def test_few_shot_has_a_table_per_number_of_shots(tmp_path, capsys):
    for shots in (1, 16):
        add_run(tmp_path, 60.0, protocol="few_shot", phase="train_all", shots=shots)
    run(tmp_path, "--protocol", "few_shot")
    out = capsys.readouterr().out
    assert "### few_shot, shots 1\n" in out and "### few_shot, shots 16\n" in out


def test_two_folders_can_be_given_by_hand(tmp_path, capsys):
    add_base_new(tmp_path, {1: 84.24}, {1: 75.67})
    run("--base", tmp_path / "base2new/train_base", "--new", tmp_path / "base2new/test_new")
    assert "79.73" in capsys.readouterr().out


def test_one_folder_as_base_and_new_is_refused(tmp_path):
    add_base_new(tmp_path, {1: 84.24}, {})
    with pytest.raises(DataError, match="expected two separate folders"):
        run("--base", tmp_path, "--new", tmp_path)


def test_swapped_folders_are_refused(tmp_path):
    add_base_new(tmp_path, {1: 84.24}, {1: 75.67})
    with pytest.raises(DataError, match="got a run on new classes in --base"):
        run("--base", tmp_path / "base2new/test_new", "--new", tmp_path / "base2new/train_base")


def test_base_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected both"):
        run("--base", tmp_path)


def test_what_was_left_out_is_named(tmp_path, caplog):
    add_base_new(tmp_path, {1: 84.24}, {1: 75.67})
    (add_run(tmp_path, 50.0, seed=2) / "result.json").unlink()
    stray = add_run(tmp_path, 50.0, seed=3).rename(tmp_path / "stray")
    run(tmp_path)
    assert [record.message.split(": ", 2)[2] for record in caplog.records] == [
        "no result.json, the run did not finish",
        f"not in {table.LAYOUT}",
    ]
    assert str(stray) in caplog.text


def test_nothing_found_is_an_error(tmp_path):
    add_run(tmp_path, 50.0)
    with pytest.raises(DataError, match="no finished run with protocol base2new, method MoCoOp"):
        run(tmp_path, "--methods", "MoCoOp")
