import pytest

from mocoop.errors import DataError
from mocoop.results.coop_logs import (
    EVERY_SEED,
    collect_logs,
    collect_recorded,
    for_every_seed,
    log_place,
    logged_config,
    read_log,
)
from tests.results.logs import FINISHED, TRAINING, add_log, config_text, log_text, result_text
from tests.results.runs import add_run

BASE = "base2new/train_base/oxford_pets/shots_16/CoCoOp/vit_b16_c4/seed1"


def read(tmp_path, text):
    path = tmp_path / "log.txt"
    path.write_text(text)
    return read_log(path)


def test_accuracy_has_the_precision_of_the_counts_where_there_are_any(tmp_path):
    result = read(tmp_path, log_text(3201, 3669))
    assert result["accuracy"] == 100 * 3201 / 3669
    assert (result["macro_f1"], result["num_test"], result["per_class_mean"]) == (86.2, 3669, None)
    assert read(tmp_path, "=> result\n* accuracy: 87.14%\n* error: 12.86%\n")["accuracy"] == 87.14


NO_RESULT = "no result in it"
VALIDATED = config_text() + TRAINING + result_text(1, 10, split="val")


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "=> result\n* total: 10\n* correct: 5\n* accuracy: 87.2%\n",
            "got accuracy 87.2% beside counts that make 50.00%",
        ),
        ("=> result\n* accuracy: 187.2%\n", "expected a percentage from 0 to 100"),
        (VALIDATED, "its training did not finish"),
        (VALIDATED + FINISHED, "its last result is on the val set"),
        (result_text(1, 10, split="val"), "its last result is on the val set"),
        (log_text() + TRAINING + result_text(), "its training did not finish"),
        *((text, NO_RESULT) for text in ("", "=> result\n", "=> result\n* total: 10\n", "\0\0\0", "accuracy: 90%\n")),
    ],
)
def test_a_log_without_a_result_of_the_test_images_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_the_last_result_counts_and_per_class_lines_do_not(tmp_path):
    per_class = "=> per-class result\n* class: 0 (cat)\ttotal: 10\tcorrect: 1\tacc: 10.0%\n* average: 60.5%\n"
    result = read(tmp_path, log_text(1, 10) + per_class + result_text(9, 10) + per_class)
    assert (result["accuracy"], result["num_test"], result["per_class_mean"]) == (90.0, 10, 60.5)
    assert read(tmp_path, VALIDATED + FINISHED + result_text(9, 10))["accuracy"] == 90.0


def test_the_configuration_is_read_by_dotted_key(tmp_path):
    config = read(tmp_path, log_text(seed=3, classes="new"))["config"]
    assert config["MODEL.BACKBONE.NAME"] == "ViT-B/16" and config["SEED"] == "3" and config["DATASET.ROOT"] == ""
    assert config["DATASET.SUBSAMPLE_CLASSES"] == "new" and config["TRAINER.NAME"] == "CoOp"
    assert "PyTorch version" not in config and "MODEL.HEAD.PRETRAINED" not in config


@pytest.mark.parametrize(
    "path, identity",
    [
        (BASE, ("base2new", "train_base", "oxford_pets", 16, "CoCoOp", "vit_b16_c4", 1)),
        (f"{BASE}_myexp", ("base2new", "train_base", "oxford_pets", 16, "CoCoOp", "vit_b16_c4_myexp", 1)),
        ("dtd/CoOp/rn50_ep100_4shots/nctx16_cscFalse_ctpend/seed2",
         ("few_shot", "train_all", "dtd", 4, "CoOp", "rn50_ep100_nctx16_cscFalse_ctpend", 2)),
        ("imagenet/CoCoOp/c4_16shots/seed3", ("few_shot", "train_all", "imagenet", 16, "CoCoOp", "c4", 3)),
        ("evaluation/CoCoOp/c4_16shots/dtd/seed3", ("xd", "test", "dtd", 16, "CoCoOp", "c4", 3)),
        ("evaluation/CoOp/c_16shots/nctx4_cscFalse_ctpend/imagenet_a/seed3",
         ("dg", "test", "imagenet_a", 16, "CoOp", "c_nctx4_cscFalse_ctpend", 3)),
        ("ZeroshotCLIP/vit_b16/dtd", ("few_shot", "train_all", "dtd", 0, "ZeroshotCLIP", "vit_b16", EVERY_SEED)),
        # of other projects
        ("few_shot/dtd/shots_4/MMRL/vit_b16_few_shot/seed2",
         ("few_shot", "train_all", "dtd", 4, "MMRL", "vit_b16_few_shot", 2)),
        ("base2new/test_new/dtd/shots_16_8.0/KgCoOp/rn50_ep100/seed3",
         ("base2new", "test_new", "dtd", 16, "KgCoOp", "rn50_ep100_8.0", 3)),
        ("o_4/base2new/train_base/dtd/shots_16_1.0/TCP/vit_b16_ep100_ctxv1/seed1",
         ("base2new", "train_base", "dtd", 16, "TCP", "vit_b16_ep100_ctxv1_1.0", 1)),
    ],
)  # fmt: skip
def test_folders_say_which_run_it_is(tmp_path, path, identity):
    folder = tmp_path / "output" / path
    assert tuple(log_place(folder).values()) == identity
    _, phase, _, shots, method, _, seed = identity
    classes = {"train_base": "base", "test_new": "new"}.get(phase, "all")
    add_log(tmp_path, folder, method=method, shots=shots or -1, seed=seed if seed > 0 else -1, classes=classes)
    found = collect_logs(tmp_path)
    assert not found.problems
    row = found.frame.iloc[0]
    place = ("protocol", "phase", "dataset", "shots", "method", "cfg", "seed")
    assert tuple(row[name] for name in place) == (*identity[:4], f"{method} (from log.txt)", *identity[5:])


def test_a_missing_folder_is_named(tmp_path):
    assert log_place(tmp_path / "somewhere") is None
    with pytest.raises(DataError, match="nowhere: no such folder"):
        collect_logs(tmp_path / "nowhere")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-8-sig"])
def test_a_log_becomes_a_marked_row_in_whatever_powershell_wrote_it(tmp_path, encoding):
    folder = add_log(tmp_path, BASE, method="CoCoOp", classes="base", correct=1, total=4)
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    text = (mark + (folder / "log.txt").read_text()).replace("\n", "\r\n")
    (folder / "log.txt").write_bytes(text.encode(encoding))
    row = collect_logs(tmp_path).frame.iloc[0]
    assert (row.protocol, row.dataset, row.method, row.seed) == ("base2new", "oxford_pets", "CoCoOp (from log.txt)", 1)
    assert (row.accuracy, row.backbone, row.subsample_classes, row.num_test) == (25.0, "ViT-B/16", "base", 4)
    assert row.folder == str(folder) and row.config_sha256 is None


def test_broken_logs_are_named_and_stay_as_gaps(tmp_path):
    add_log(tmp_path, BASE, method="CoCoOp", classes="base")
    broken = add_log(tmp_path, BASE.replace("seed1", "seed2"), config_text(method="CoCoOp") + TRAINING)
    empty = tmp_path / BASE.replace("seed1", "seed3")
    empty.mkdir()
    found = collect_logs(tmp_path)
    assert found.problems == [
        f"{broken}/log.txt: its training did not finish",
        f"{empty}: no log.txt, the run did not start",
    ]
    with_gaps = found.with_gaps()
    assert with_gaps.seed.tolist() == [1, 2, 3] and with_gaps.accuracy.isna().tolist() == [False, True, True]
    assert set(with_gaps.method) == {"CoCoOp (from log.txt)"}
    for old, new in (("SEED: 1", "SEED: one"), ("%", ".1%")):
        folder = add_log(tmp_path / old, BASE, method="CoCoOp", classes="base")
        (folder / "log.txt").write_text((folder / "log.txt").read_text().replace(old, new))
        found = collect_logs(tmp_path / old)
        assert found.frame.empty and found.problems[0].startswith(f"{folder}/log.txt: damaged, ")


def test_the_newest_log_with_a_result_counts_and_the_configuration_of_a_training_is_its_own(tmp_path):
    """Not that of a later evaluation."""
    folder = add_log(tmp_path, BASE, method="CoCoOp", classes="base", correct=1, total=4, backbone="RN50")
    later = {"name": "log.txt-2022-03-01-10-00-00", "method": "CoCoOp", "classes": "base", "training": False}
    add_log(tmp_path, BASE, correct=2, total=4, **later)
    add_log(tmp_path, BASE, config_text(), name="log.txt-2023-03-01-10-00-00")
    assert collect_logs(tmp_path).frame.accuracy.tolist() == [50.0]
    assert logged_config(folder)["MODEL.BACKBONE.NAME"] == "RN50" and logged_config(tmp_path) == {}


@pytest.mark.parametrize(
    "config, message",
    [
        ({"seed": 2}, "log.txt says seed 2, its folder says 1"),
        ({"shots": 4}, "says shots 4, its folder says 16"),
        ({"method": "CoOp"}, "says method CoOp"),
        ({"classes": "new"}, "says subsample_classes new, its folder says base"),
    ],
)
def test_a_log_that_contradicts_its_folder_is_a_gap(tmp_path, config, message):
    add_log(tmp_path, BASE, **{"method": "CoCoOp", "classes": "base"} | config)
    found = collect_logs(tmp_path)
    assert found.frame.empty and len(found.gaps) == 1 and message in found.problems[0]


def test_the_evaluated_model_of_imagenet_is_the_source_of_transfer(tmp_path):
    add_log(tmp_path, "imagenet/CoCoOp/c4_16shots/seed1", method="CoCoOp")
    add_log(tmp_path, "imagenet/CoCoOp/other_16shots/seed1", method="CoCoOp")
    add_log(tmp_path, "evaluation/CoCoOp/c4_16shots/dtd/seed1", method="CoCoOp", shots=-1, training=False)
    runs = collect_logs(tmp_path).frame
    assert sorted(zip(runs.protocol, runs.phase, runs.dataset, runs.cfg, runs.shots)) == [
        ("few_shot", "train_all", "imagenet", "c4", 16),
        ("few_shot", "train_all", "imagenet", "other", 16),
        ("xd", "test", "dtd", "c4", 16),  # which need not state its shots
        ("xd", "train", "imagenet", "c4", 16),
    ]


@pytest.mark.parametrize("classes, place", [("all", ("few_shot", "train_all")), ("new", ("base2new", "test_new"))])
def test_zero_shot_logs_stand_for_every_seed(tmp_path, classes, place):
    add_log(tmp_path, "ZeroshotCLIP/vit_b16/dtd", method="ZeroshotCLIP", shots=-1, seed=-1, classes=classes)
    zero_shot = collect_logs(tmp_path).frame
    assert (zero_shot.protocol[0], zero_shot.phase[0], zero_shot.seed[0]) == (*place, EVERY_SEED)
    add_log(tmp_path, "dtd/CoOp/rn50_4shots/seed2", shots=4, seed=2)
    add_log(tmp_path, "dtd/CoOp/rn50_4shots/seed5", shots=4, seed=5)
    runs = for_every_seed(collect_logs(tmp_path).frame)
    assert runs[runs.shots == 0].seed.tolist() == [2, 5] and len(runs) == 4
    assert for_every_seed(zero_shot).seed.tolist() == [1]


def test_a_new_run_in_an_old_tree_is_read_by_its_record(tmp_path):
    folder = add_run(tmp_path, 50.0)
    (folder / "log.txt").write_text(log_text())
    by_log, by_record = collect_logs(tmp_path), collect_recorded(tmp_path)
    assert by_log.frame.empty and not by_log.problems and by_record.frame["accuracy"].tolist() == [50.0]


@pytest.mark.parametrize(
    "path, log, reason",
    [
        ("base2new/train_base/dtd/shots_0/PromptKD/vit_b16_c2/seed_1", {"method": "PromptKD", "classes": "base"},
         "trained with 0 shots, which is on all images"),
        ("dtd/PromptKD/vit_b16_c2_cross_datasets_0shots/seed1", {"method": "PromptKD"},
         "trained with 0 shots, which is on all images"),
        ("base2new/test_new/dtd/shots_16/MMRL/vit_b16_cross_datasets/seed1", {"method": "MMRL", "shots": 16},
         "says subsample_classes all, its folder says new"),
        ("output/mine/dtd/shots_16/CoOp/rn50/seed1", {}, "its run is not known"),
        ("somewhere", {}, "its run is not known"),
    ],
)  # fmt: skip
def test_what_is_no_run_of_a_table_is_named_with_the_reason(tmp_path, path, log, reason):
    folder = add_log(tmp_path, path, **{"shots": 0 if "PromptKD" in path else 16} | log)
    found = collect_logs(tmp_path)
    assert found.frame.empty and len(found.problems) == 1
    assert str(folder) in found.problems[0] and reason in found.problems[0]
    assert not found.gaps or reason != "its run is not known"
