import pytest

from mocoop.errors import DataError
from mocoop.results.published import load_published
from mocoop.results.published_tables import beside_table, published_table
from mocoop.results.render import Cell, cell_text, to_latex
from mocoop.results.runs import collect
from mocoop.results.stats import summarise
from tests.results.runs import add_base_new, add_run


@pytest.fixture(scope="module")
def numbers():
    return load_published()


def beside(root, protocol, numbers, methods=None):
    runs = collect(root).frame
    return beside_table(summarise(runs, protocol), runs, protocol, numbers, methods)


def text_rows(table):
    return [[cell_text(item) if isinstance(item, Cell) else item for item in row] for row in table.rows if row]


def test_each_method_stands_beside_its_own_published_numbers(tmp_path, numbers):
    add_base_new(tmp_path, {1: 80.0, 2: 82.0}, {1: 60.0, 2: 60.0}, dataset="dtd", backbone="ViT-B/16")
    add_base_new(tmp_path, {1: 53.0}, {1: 60.0}, dataset="dtd", backbone="ViT-B/16", method="ZeroshotCLIP", shots=0)
    table = beside(tmp_path, "base2new", numbers)
    assert table.columns[2:] == [
        *("Base", "New", "H", "Published", "Base (publ.)", "New (publ.)", "H (publ.)"),
        *("Δ Base", "Δ New", "Δ H", "Source"),
    ]
    zero_shot, coop = text_rows(table)
    assert zero_shot[2:] == [*"–––", "CLIP", "53.24", "59.90", "56.37", *"–––", "[1]"]
    assert coop[2:] == [
        *("81.00 ± 1.41", "60.00 ± 0.00", "68.94 ± 0.51"),
        *("CoOp", "79.44", "41.18", "54.24", "+1.56", "+18.82", "+14.70", "[1]"),
    ]
    assert table.notes[1].startswith("[1] arXiv:2609.10321 (OnPoKD) Table 1")


def test_named_methods_stand_beside_each_of_ours(tmp_path, numbers):
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, dataset="dtd", backbone="ViT-B/16", method="MoCoOp")
    rows = text_rows(beside(tmp_path, "base2new", numbers, ["MaPLe", "ZeroshotCLIP", "MoCoOp"]))
    assert [(row[1], row[5], row[6]) for row in rows] == [
        ("MoCoOp", "MaPLe", "80.36"),
        ("MoCoOp", "CLIP", "53.24"),
        ("MoCoOp", "MoCoOp", "–"),
    ]
    assert rows[2][-1] == "not available in machine-readable form" and rows[0][-1] != rows[2][-1]


@pytest.mark.parametrize(
    "where, beside_it",
    [
        ({"dataset": "shapes_both"}, ["CoOp", *"––––––", "none that matches"]),
        ({"shots": 4}, ["CoOp", *"––––––", "none that matches"]),
        ({"backbone": "RN50"}, ["CoOp", *"––––––", "none that matches"]),
        ({"method": "MyMethod"}, ["none"]),
    ],
)
def test_what_does_not_match_is_left_empty(tmp_path, numbers, where, beside_it):
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, **{"dataset": "dtd", "backbone": "ViT-B/16"} | where)
    (row,) = text_rows(beside(tmp_path, "base2new", numbers))
    assert row[-len(beside_it) :] == beside_it


def test_the_average_is_over_the_same_datasets_as_ours(tmp_path, numbers):
    for dataset in ("dtd", "eurosat"):
        add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, dataset=dataset, backbone="ViT-B/16")
    average = text_rows(beside(tmp_path, "base2new", numbers))[-1]
    assert (average[0], average[6]) == ("average", f"{(79.44 + 92.19) / 2:.2f}")
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, dataset="my_images", backbone="ViT-B/16")
    assert text_rows(beside(tmp_path, "base2new", numbers))[-1][6] == "–"


def test_transfer_stands_beside_published_numbers_too(tmp_path, numbers):
    add_run(tmp_path, 71.0, protocol="xd", phase="train", dataset="imagenet", backbone="ViT-B/16")
    for dataset in ("dtd", "eurosat"):
        add_run(tmp_path, 50.0, protocol="xd", phase="test", dataset=dataset, backbone="ViT-B/16")
    rows = text_rows(beside(tmp_path, "xd", numbers))
    assert [(row[0], row[4], row[5]) for row in rows] == [
        ("imagenet (source)", "71.51", "−0.51"),
        ("dtd", "41.92", "+8.08"),
        ("eurosat", "46.39", "+3.61"),
        ("average", "44.16", "+5.84"),
    ]


def test_few_shot_numbers_are_matched_by_shots(tmp_path, numbers):
    for shots in (1, 2, 4):
        add_run(tmp_path, 50.0, protocol="few_shot", phase="train_all", dataset="dtd", shots=shots, backbone="ViT-B/16")
    rows = text_rows(beside(tmp_path, "few_shot", numbers))
    found = [(row[1], row[4]) for row in rows]
    assert found == [("CoOp, 1 shot", "50.23"), ("CoOp, 2 shots", "53.60"), ("CoOp, 4 shots", "–")]


def test_published_base_to_new_ends_in_averages_and_what_disagrees(numbers):
    table = published_table("base2new", numbers)
    rows = text_rows(table)
    averages = {row[1]: row[2:5] for row in rows if row[0] == "average"}
    expected = {  # of the values per dataset, or as they are stated
        "CLIP": ["69.34", "74.22", "71.70"],
        "CoOp": ["82.69", "63.22", "71.66"],
        "CoCoOp": ["80.47", "71.69", "75.83"],
        "MaPLe": ["82.28", "75.14", "78.55"],
        "PromptSRC": ["84.26", "76.10", "79.97"],
        "ProGrad": ["82.48", "70.75", "76.16"],
        "MoCoOp": ["–", "–", "–"],
    }
    assert averages.items() >= expected.items() and rows[-1][-1] == "not available in machine-readable form"
    assert [row[1] for row in rows if row[0] == "DTD"][:3] == ["CLIP", "CoOp", "CoCoOp"]
    assert sum(" states base" in note for note in table.notes) == 2  # the printed averages of KgCoOp and MMA
    assert "LASP also uses: templates of several datasets, names of the new classes" in table.notes
    marks = {row[1]: row[-1] for row in rows if row[0] == "average"}
    marked = {method for method, mark in marks.items() if mark.endswith("†")}
    assert marked == {"VPT", "ProGrad", "CLIP-LoRA", "CoOp (KgCoOp rerun)"}
    assert "† A rerun: not measured by the method's authors." in table.notes


def test_every_published_row_has_a_source_that_is_listed(numbers):
    for protocol in ("base2new", "few_shot", "xd", "dg"):
        table = published_table(protocol, numbers)
        listed = {note.split()[0] for note in table.notes if note.startswith("[")}
        used = {mark for row in table.rows if row for mark in row[-1].split() if mark.startswith("[")}
        assert used == listed and used
        assert all(row[-1].startswith(("[", "not available")) for row in table.rows if row)


def test_published_transfer_averages_the_targets(numbers):
    averages = {row[1]: row[2] for row in text_rows(published_table("dg", numbers)) if row[0] == "average"}
    assert averages["CoOp"] == "59.28" and averages["CoCoOp"] == "59.91"
    assert text_rows(published_table("xd", numbers))[0][0] == "ImageNet (source)"


def test_published_few_shot_numbers_have_a_column_per_shots(numbers):
    table = published_table("few_shot", numbers, ["CoOp"], ["DTD", "dtd", "oxford_pets"])
    assert table.columns == ["Dataset", "Method", "1 shot", "2 shots", "Source"]
    assert [row[:4] for row in text_rows(table)] == [
        ["DTD", "CoOp", "50.23", "53.60"],
        ["OxfordPets", "CoOp", "90.37", "89.80"],
        ["average", "CoOp", "70.30", "71.70"],
    ]


def test_published_numbers_can_be_chosen_and_the_best_is_bold_in_latex(numbers):
    table = published_table("base2new", numbers, ["CoOp", "CLIP"], ["dtd"])
    assert [row[:2] for row in table.rows] == [["DTD", "CoOp"], ["DTD", "CLIP"]]
    assert [row[2].rank for row in table.rows] == [1, 2] and table.rows[0][2].spread is None
    assert r"DTD & CoOp & \textbf{79.44} & \underline{41.18}" in to_latex(table)
    with pytest.raises(DataError, match="got published method 'CoCoop', expected one of CLIP, CoOp"):
        published_table("base2new", numbers, ["CoCoop"])
    with pytest.raises(DataError, match="got no published number of dg with RN50"):
        published_table("dg", numbers, ["CoOp"], backbone="RN50")
