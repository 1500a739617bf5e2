import pytest

from mocoop.errors import DataError
from mocoop.results.published import (
    AVERAGE,
    H_OF_MEANS,
    NOT_AVAILABLE,
    ROUNDING,
    SPLITS,
    PublishedNumbers,
    dataset_key,
    load_published,
    published_method,
    read_published,
)
from mocoop.results.stats import harmonic_mean

HEAD = "protocol,method,backbone,dataset,shots,split,value,source"
ROW = "base2new,MoCoOp,ViT-B/16,oxford_pets,16,base,90.5,my copy"


@pytest.fixture(scope="module")
def numbers() -> PublishedNumbers:
    return load_published()


def own(tmp_path, *rows, head=HEAD):
    path = tmp_path / "own.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_every_h_that_is_not_that_of_its_base_and_new_has_a_note(numbers):
    rows = numbers.frame[numbers.frame.protocol == "base2new"]
    where = ["method", "key", "source"]
    table = rows.pivot_table(index=where, columns="split", values="value").dropna()
    notes = rows.groupby(where)["note"].agg(" ".join)
    assert len(table) > 50
    apart = table[(harmonic_mean(table["base"], table["new"]) - table["H"]).abs() > ROUNDING]
    found = apart.index.get_level_values("method") + " " + apart.index.get_level_values("key")
    assert sorted(found) == [
        *("GDA average", "HPT average", "KgCoOp fgvcaircraft", "KgCoOp flowers102", "KgCoOp food101"),
        *("MMA ucf101", "RPO average"),
    ]
    assert all("H" in notes[index] or "misprint" in notes[index] for index in apart.index)


def test_a_stated_average_that_does_not_follow_is_said_by_the_source_of_the_computed_one(numbers):
    found = {}
    for protocol in ("base2new", "few_shot", "xd", "dg"):
        stated = numbers.frame[(numbers.frame.protocol == protocol) & (numbers.frame.dataset == AVERAGE)]
        for method, backbone, shots in stated[["method", "backbone", "shots"]].drop_duplicates().to_numpy():
            one = numbers.average(protocol, method, backbone, shots, numbers.averaged(protocol))
            if " states " in one.source:
                found[protocol, method, shots] = one.source.partition(" states ")[2]
    assert found == {
        ("base2new", "KgCoOp", 16): "base 80.73, new 73.60, H 77.00",
        ("base2new", "MMA", 16): "base 83.20, new 76.80, H 79.87",
        ("few_shot", "CLIP-LoRA", 1): "all 72.20",  # of one paper, the values per data set of another
        ("few_shot", "CLIP-LoRA", 4): "all 77.32",
        ("few_shot", "CLIP-LoRA", 16): "all 82.89",
    }


def test_sources_that_state_the_same_thing_agree_and_none_is_missing(numbers):
    rows = numbers.frame.groupby(["protocol", "method", "backbone", "key", "shots", "split"])["value"]
    assert (rows.nunique() == 1).all() and (rows.size() > 1).any()
    assert (numbers.frame["source"].str.len() > 10).all()
    assert not numbers.frame["method"].isin(NOT_AVAILABLE).any()
    assert set(numbers.frame["protocol"]) == set(SPLITS) - {"base2new_all"}  # which no paper of them reports


def test_all_names_of_a_dataset_mean_the_same(numbers):
    for names in (
        ("oxford_flowers", "OxfordFlowers", "Flowers102"),
        ("dtd", "DescribableTextures", "DTD"),
        ("oxford_pets", "OxfordPets"),
        ("fgvc_aircraft", "FGVCAircraft"),
        ("imagenet_sketch", "ImageNetSketch", "ImageNet-Sketch"),
        ("imagenetv2", "ImageNetV2"),
    ):
        assert len(set(map(dataset_key, names))) == 1
        assert any(dataset_key(names[0]) in map(dataset_key, numbers.datasets(protocol)) for protocol in ("xd", "dg"))
    assert [published_method(name) for name in ("ZeroshotCLIP", "CoOp", "CLIPLoRA")] == ["CLIP", "CoOp", "CLIP-LoRA"]


def test_what_does_not_match_is_not_found(numbers):
    where = {"protocol": "base2new", "method": "CoOp", "backbone": "ViT-B/16", "shots": 16, "dataset": "dtd"}
    assert numbers.entry(**where) is not None
    for change in ({"shots": 4}, {"backbone": "RN50"}, {"dataset": "shapes_both"}, {"method": "X"}):
        assert numbers.entry(**where | change) is None
    entry = numbers.entry(**where | {"dataset": "oxford_flowers"})  # by our name of it
    assert entry.values == {"base": 97.60, "new": 59.67, "H": 74.06} and entry.source.startswith("arXiv:2609.10321")


def test_an_average_is_over_the_same_datasets_or_not_at_all(numbers):
    """Over all but the source of a transfer; one that is stated alone is taken for all datasets only."""
    assert len(numbers.averaged("xd")) == 10 and "ImageNet" not in numbers.averaged("dg")
    average = numbers.average("dg", "CoOp", "ViT-B/16", 16, numbers.averaged("dg"))
    assert average.values == {"all": pytest.approx(59.2775)}
    assert len(numbers.averaged("base2new")) == 11
    of_two = numbers.average("base2new", "CoOp", "ViT-B/16", 16, ["dtd", "eurosat"])
    assert of_two.source.startswith("average of the values of arXiv:")
    assert of_two.values["base"] == pytest.approx((79.44 + 92.19) / 2)
    assert numbers.average("base2new", "CoOp", "ViT-B/16", 16, ["dtd", "shapes_both"]) is None
    assert numbers.average("base2new", "CoOp", "ViT-B/16", 16, []) is None
    stated = numbers.average("base2new", "ProGrad", "ViT-B/16", 16, numbers.averaged("base2new"))
    assert stated.values == {"base": 82.48, "new": 70.75, "H": 76.16}
    assert numbers.average("base2new", "ProGrad", "ViT-B/16", 16, ["dtd", "eurosat"]) is None


@pytest.mark.parametrize(
    "method, protocol, who",
    [
        ("ProGrad", "base2new", "by the authors of KgCoOp"),
        ("CoOp (KgCoOp rerun)", "base2new", "by the authors of KgCoOp"),
        ("VPT", "base2new", "by the authors of MaPLe"),
        ("CLIP-LoRA", "base2new", "by whom is not said"),
        ("Tip-Adapter", "few_shot", "by the authors of CLIP-SVD"),
    ],
)
def test_reruns_by_others_are_marked_and_say_by_whom(numbers, method, protocol, who):
    entry = numbers.entry(protocol, method, "ViT-B/16", 16, AVERAGE)
    assert entry.rerun and who in entry.source
    assert not numbers.entry("base2new", "MaPLe", "ViT-B/16", 16, AVERAGE).rerun


def test_an_average_says_of_what_its_h_is(numbers):
    assert "H is the mean of the datasets' H" in numbers.entry("base2new", "RPO", "ViT-B/16", 16, AVERAGE).source
    of_two = numbers.average("base2new", "KgCoOp", "ViT-B/16", 16, ["dtd", "eurosat"])
    assert of_two.source.endswith(H_OF_MEANS) and " states " not in of_two.source


def test_ones_own_numbers_come_first_and_h_is_computed_where_it_is_not_stated(tmp_path):
    more = [ROW.replace("base,90.5", "new,80.5"), "base2new,CoOp,ViT-B/16,DescribableTextures,16,base,12.5,my run"]
    numbers = load_published(own(tmp_path, ROW, *more))
    assert numbers.knows("MoCoOp")
    found = numbers.entry("base2new", "MoCoOp", "ViT-B/16", 16, "OxfordPets").values
    assert found == {"base": 90.5, "new": 80.5, "H": harmonic_mean(90.5, 80.5)}
    assert numbers.entry("base2new", "CoOp", "ViT-B/16", 16, "dtd").source == "my run"


def test_spreadsheets_habits_are_accepted(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes(("\ufeff" + HEAD + ",remark\r\n" + ROW.replace(",16,", ", 16 ,") + ",x\r\n,,,,,,,,\r\n").encode())
    (row,) = read_published(path).to_dict("records")
    assert (row["shots"], row["value"], row["key"]) == (16, 90.5, "oxfordpets")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("90.5", "abc", "line 2, column value: got 'abc', expected a percentage from 0 to 100"),
        ("90.5", "101", "column value: got '101'"),
        ("90.5", "-1", "column value: got '-1'"),
        ("90.5", "nan", "column value: got 'nan'"),
        ("90.5", "", "column value: got nothing, expected a value"),
        (ROW, f"\n{ROW.replace(',16,', ',x,')}", "own.csv, line 3, column shots: got 'x'"),
        ("my copy", " ", "line 2, column source: got nothing"),
        ("oxford_pets", "", "column dataset: got nothing"),
        ("ViT-B/16", "", "column backbone: got nothing"),
        ("MoCoOp", "", "column method: got nothing"),
        (",16,", ",4.5,", "column shots: got '4.5', expected a whole number"),
        (",16,", ",-1,", "column shots: got '-1'"),
        ("base2new", "fewshot", "column protocol: got 'fewshot', expected one of base2new, base2new_all, few_"),
        ("base,", "all,", "column split: got 'all', expected one of base, new, H"),
    ],
)
def test_a_bad_value_is_refused_by_line_and_column(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        load_published(own(tmp_path, ROW.replace(old, new, 1)))


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    for head in ("", HEAD.replace(",source", ""), HEAD.replace(",", ";")):
        with pytest.raises(DataError, match="own.csv: got no column .*source.*, expected protocol,"):
            load_published(own(tmp_path, ROW, head=head))
    with pytest.raises(DataError, match="line 3: its source states this number in an earlier line already"):
        load_published(own(tmp_path, ROW, ROW.replace("oxford_pets", "OxfordPets").replace("90.5", "91.5")))
    with pytest.raises(DataError, match="nowhere.csv: cannot be read"):
        load_published(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes(f"{HEAD}\n{ROW}".replace("copy", "ma\xdf").encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as csv in UTF-8"):
        load_published(tmp_path / "latin.csv")


def test_datasets_are_chosen_by_any_name(tmp_path, numbers):
    assert numbers.select("base2new", ["ucf101", "oxford_flowers"]) == ["Flowers102", "UCF101"]
    assert AVERAGE not in numbers.select("base2new")
    with pytest.raises(DataError, match="got published data set 'mnist', expected one of ImageNet"):
        numbers.select("base2new", ["mnist"])
    rows = [ROW.replace("base2new", "xd").replace("base,", "all,").replace("oxford_pets", "imagenet")]
    found = load_published(own(tmp_path, *rows, ROW.replace("oxford_pets", "average")))
    assert found.averaged("xd") == numbers.averaged("xd")  # another spelling of the source, or of the average
    assert found.datasets("base2new") == numbers.datasets("base2new")
