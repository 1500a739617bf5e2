"""Spoiled files and odd values: of each reader comes something whole, or a refusal in one line."""

import json
import os
import pickle

import torch
from hypothesis import given
from hypothesis import strategies as st

from mocoop.clip.openai import EOT_TOKEN, SOT_TOKEN, clip, tokenizer
from mocoop.clip.prompts import Context, PromptLayout, hard_prompts
from mocoop.clip.templates import fill as fill_template
from mocoop.clip.templates import split_template, template_problem
from mocoop.config import MOST_PROBLEMS, fill, merge_file, merge_overrides
from mocoop.data.exchange import pickled_subset, read_pickled_subset, read_subset
from mocoop.data.image_csv import label_order, read_class_names, read_image_csv
from mocoop.data.imagenet import list_class_folders
from mocoop.data.inspection import ImageFacts, inspect_images
from mocoop.data.item import Item, check_labels, class_names
from mocoop.data.lists import encode_manifest, read_manifest, read_split, text_sha256
from mocoop.errors import ConfigError
from mocoop.images import read_image
from mocoop.methods import config_problems
from mocoop.methods.mocoop.config import mocoop_problems, resolve_groups
from mocoop.names import name_problem
from mocoop.results.csv_files import read_history, read_predictions
from mocoop.results.record import plain_config, read_record
from mocoop.results.runs import collect
from tests.hostile.fuzz import FUZZ, LONGEST, odd_json, odd_text, spoiled, spoiled_json, value_or_refusal
from tests.hostile.images import HARMLESS, JPEG, PICTURE, encoded, png
from tests.hostile.names import BAD_NAMES, FINE_NAMES
from tests.hostile.readers import config
from tests.hostile.results import HISTORY, PREDICTIONS
from tests.results.runs import make_record


def as_json(values) -> st.SearchStrategy:
    return values.map(lambda value: json.dumps(value).encode())


def put(folder, name: str, content: bytes):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- class names and templates: a layout has the tokens that CLIP gives the sentence --------------------------------

(PLACEHOLDER,) = tokenizer.encode("x")
names = (
    odd_text
    | st.sampled_from([*BAD_NAMES.values(), *FINE_NAMES.values()])
    | st.text(alphabet="aé'’&;#x<>|.,!?-_ 09\u0301Ã©â€™\u200bßﬁ", max_size=12)
    | st.text(alphabet=st.characters(categories=["L", "M", "N", "P", "S", "Z", "Cf", "Co", "Cn"]), max_size=12)
)


def checked_layout(pieces: list) -> PromptLayout:
    for piece in pieces:
        if isinstance(piece, str) and (problem := name_problem(piece)):
            raise ConfigError(problem)
    return PromptLayout([pieces])


def assert_clips_own(layout: PromptLayout | None, sentence: str) -> None:
    if layout is None:
        return
    tokens = torch.where(layout.ctx_index >= 0, PLACEHOLDER, layout.tokens)[0]
    assert torch.equal(tokens, clip.tokenize(sentence)[0].long()), sentence
    length = int(layout.lengths[0])
    assert layout.tokens[0, length - 1] == EOT_TOKEN and layout.tokens[0, 0] == SOT_TOKEN
    assert not set(layout.tokens[0, 1 : length - 1].tolist()) & {SOT_TOKEN, EOT_TOKEN}


@FUZZ
@given(name=names)
def test_a_name_behind_and_within_the_context(name):
    behind = value_or_refusal("class name", checked_layout, [Context(0, 4), name + "."])
    assert_clips_own(behind, f"x x x x {name}.")
    within = value_or_refusal("class name", checked_layout, [Context(0, 2), name, Context(2, 2), "."])
    assert_clips_own(within, f"x x {name} x x .")


@FUZZ
@given(template=names, name=names)
def test_a_template_with_any_name(template, name):
    template = template if "{}" in template else template + " {}."
    if template_problem(template) or name_problem(name):
        return
    sentence = fill_template(template, name)
    assert sentence.count(name.replace("_", " ")) >= 1 and len(sentence) == len(template) - 2 + len(name)
    assert all(part in template for part in split_template(template))
    assert_clips_own(value_or_refusal("template", hard_prompts, [sentence]), sentence)


# --- configs and overrides ------------------------------------------------------------------------------------------

YAML = b"""# a comment
DATASET: {NAME: "Folder", NUM_SHOTS: 16}
INPUT:
  SIZE: (224, 224)
  TRANSFORMS: ["random_flip", 'normalize']
OPTIM:
  LR: 0.002
  WARMUP_CONS_LR: 1e-5
TRAINER:
  MOCOOP:
    GROUPS:
      - ["a photo of a {}."]
      - ["a sketch of a {}.", "a drawing of a {}."]
"""
VALUES = ["1", "-1", "1e999", "(1, 2)", "[]", "{}", "None", "True", "'x'", "[['a {}.']]", "((("]


def default():
    cfg = config()
    cfg.TRAINER.NAME = "MoCoOp"
    return cfg


def keys(node, prefix=""):
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def merged(path):
    cfg = default()
    merge_file(cfg, str(path))
    return cfg


MARKS = st.text(alphabet=" \n\t:-[]{},&*!|>'\"%@`#?abc019.~<=\\SED", max_size=60).map(str.encode)


@FUZZ
@given(content=spoiled(YAML) | MARKS)
def test_yaml(folder, content):
    cfg = value_or_refusal("yaml", merged, put(folder, "a.yaml", content), longest=MOST_PROBLEMS * LONGEST)
    assert cfg is None or type(cfg.SEED) is int


@FUZZ
@given(key=st.sampled_from(sorted(keys(default()))) | odd_text, value=odd_text | st.sampled_from(VALUES))
def test_overrides(key, value):
    value_or_refusal("override", merge_overrides, default(), [key, value])


@FUZZ
@given(plain=spoiled_json(plain_config(default())))
def test_plain_values(plain):
    if isinstance(plain, dict):
        value_or_refusal("kept config", fill, default(), plain, "result.json")


@FUZZ
@given(groups=st.lists(odd_json, max_size=4), group_names=st.lists(odd_json, max_size=4))
def test_groups_of_templates(groups, group_names):
    cfg = default()
    cfg.TRAINER.MOCOOP.GROUPS, cfg.TRAINER.MOCOOP.GROUP_NAMES = groups, group_names
    problems = mocoop_problems(cfg)
    assert problems == config_problems(cfg)
    if not problems and groups:
        resolved = resolve_groups(cfg)
        assert len(resolved) == len(groups)
        assert all(template_problem(template) is None for group in resolved.values() for template in group)


# --- splits, few-shot subsets, csv files, what is remembered of folders ----------------------------------------------

IMAGES = "/data/toy/images"
SPLIT = {
    "train": [["ant/0.jpg", 0, "ant"], ["bee/0.jpg", 1, "bee"]],
    "val": [["ant/1.jpg", 0, "ant"]],
    "test": [["bee/1.jpg", 1, "bee"]],
}
ITEMS = [Item(f"{IMAGES}/{path}", label, name) for path, label, name in SPLIT["train"]]
MANIFEST = encode_manifest(ITEMS, ITEMS[:1], IMAGES).encode()
LINE = spoiled_json(json.loads(MANIFEST.splitlines()[0]))
TWO_SFS = b'{"_impath": "toy/images/ant/0.jpg", "_label": 0}\n{"_impath": "toy/images/bee/0.jpg", "_label": 1}\n'
CSV = b'path,label,split,domain\nant/0.jpg,ant,train,photo\n"bee/0.jpg","b;ee",test,\n'
CLASS_NAMES = b"label;classname\nant;red ant\nbee;honey bee\n"


def inside(path: str, root: str) -> bool:
    return (os.path.normpath(path) + "/").startswith(root + "/") and "\0" not in path


def whole_split(path):
    splits = read_split(path, IMAGES)
    found = class_names(splits.train, "toy")
    check_labels(splits, found, "toy")
    return splits, found


@FUZZ
@given(content=spoiled(json.dumps(SPLIT).encode()) | as_json(spoiled_json(SPLIT)))
def test_splits(folder, content):
    found = value_or_refusal("split", whole_split, put(folder, "split.json", content))
    if found:
        splits, classes = found
        for item in (*splits.train, *splits.val, *splits.test):
            assert inside(item.impath, IMAGES) and type(item.label) is int and 0 <= item.label < len(classes)
        assert all(name.strip() and "\n" not in name for name in classes)
        assert len(text_sha256(encode_manifest(splits.train, splits.val, IMAGES))) == 64


@FUZZ
@given(content=spoiled(MANIFEST) | st.lists(as_json(LINE), min_size=1, max_size=3).map(b"\n".join))
def test_manifests(folder, content):
    records = value_or_refusal("manifest", read_manifest, put(folder, "m.jsonl", content))
    for record in records["train"] + records["val"] if records else ():
        assert inside(f"{IMAGES}/{record.path}", IMAGES) and record.label >= 0


@FUZZ
@given(content=spoiled(TWO_SFS))
def test_subsets_of_2sfs(folder, content):
    put(folder, "s_val.jsonl", TWO_SFS)
    value_or_refusal("2sfs", read_subset, put(folder, "s_train.jsonl", content))


OTHER_PICKLES = st.builds(lambda value, protocol: pickle.dumps({"train": value}, protocol), odd_json, st.integers(0, 5))


@FUZZ
@given(content=spoiled(pickled_subset(ITEMS, ITEMS[:1])) | OTHER_PICKLES)
def test_pickled_subsets(folder, content):
    records = value_or_refusal("pickle", read_pickled_subset, put(folder, "s.pkl", content))
    assert records is None or all(type(r.path) is str and r.label >= 0 for r in records["train"] + records["val"])


CELLS = st.lists(st.lists(odd_text, min_size=3, max_size=3), max_size=4)


def csv_of(rows: list[list[str]]) -> bytes:
    lines = ["path,label,domain", *(",".join(f'"{cell}"' for cell in row) for row in rows)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@FUZZ
@given(content=spoiled(CSV) | CELLS.map(csv_of))
def test_csv(folder, content):
    rows = value_or_refusal("csv", read_image_csv, put(folder, "images.csv", content), str(folder))
    for row in rows or ():
        assert inside(f"{folder}/{row.path}", str(folder)) and row.label and row.split in ("", "train", "val", "test")


@FUZZ
@given(content=spoiled(CLASS_NAMES))
def test_class_name_csv(folder, content):
    found = value_or_refusal("class name csv", read_class_names, put(folder, "names.csv", content))
    assert found is None or len(set(found.values())) == len(found)


@FUZZ
@given(labels=st.lists(st.text(alphabet="0123456789٣²a", min_size=1, max_size=3), max_size=6))
def test_label_order_is_one_for_all_orders(labels):
    assert label_order(labels) == label_order(labels[::-1]) == label_order(sorted(labels))


MEMORY = {"a.jpg": [[3, 4], "", None], "b.jpg": [[5, 6], "", 1.0, 2.0, 1.5, 0.5, 65535.0]}
MEMORY = {"format": 2, "images": MEMORY}


@FUZZ
@given(value=spoiled_json(MEMORY))
def test_what_is_remembered_of_images(folder, value):
    for name in ("a.jpg", "b.jpg"):
        put(folder, name, JPEG)
    put(folder, ".mocoop/images.json", json.dumps(value).encode())
    looks = value_or_refusal("memory of images", inspect_images, str(folder), ["a.jpg", "b.jpg"])
    assert looks == {"a.jpg": ImageFacts(), "b.jpg": ImageFacts()}


@FUZZ
@given(value=spoiled_json({"format": 1, "parts": {"train": {"ant": {"changed": 1, "images": ["x.jpg"]}}}}))
def test_what_is_remembered_of_class_folders(folder, value):
    put(folder, "tree/train/ant/real.jpg", JPEG)
    index = put(folder, "index.json", json.dumps(value).encode())
    found = value_or_refusal("index", list_class_folders, str(folder / "tree"), ("train",), str(index))
    assert found == {"train": {"ant": ["real.jpg"]}}


# --- images ---------------------------------------------------------------------------------------------------------

WHOLE = [encoded(PICTURE, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")]
SIDES = st.integers(0, 2**31 - 1)


@FUZZ
@given(
    content=st.sampled_from(WHOLE).flatmap(lambda whole: spoiled(whole, near=(0, 16, 100)))
    | st.sampled_from(sorted(HARMLESS.values())).flatmap(spoiled)
    | st.builds(png, SIDES, SIDES, st.binary(max_size=64), st.sampled_from([0, 2, 3, 4, 6]))
)
def test_images(folder, content):
    path = put(folder, "pictures/x.jpg", content)
    image = value_or_refusal("image", read_image, str(path))
    assert image is None or image.mode == "RGB"
    problem = inspect_images(str(path.parent), ["x.jpg"])["x.jpg"].problem
    assert problem.isprintable() and len(problem) < 400 and (image is None) == bool(problem)


# --- records of runs, and the tables beside them --------------------------------------------------------------------

ROUTING = {
    "groups": ["a", "b"],
    "top_k": 1,
    "chosen": [40.0, 60.0],
    "chosen_by_domain": {"photo": [40.0, 60.0]},
    "domain_in_top_k": 50.0,
    "gate_entropy": 0.1,
}
RECORD = make_record(routing=ROUTING)


@FUZZ
@given(content=as_json(spoiled_json(RECORD)) | spoiled(json.dumps(RECORD).encode()))
def test_records(folder, content):
    path = put(folder, "runs/result.json", content)
    record = value_or_refusal("record", read_record, path)
    found = collect(path.parent)
    done = record is not None and record["status"] == "done"
    assert len(found.frame) == done and len(found.problems) == (not done)


@FUZZ
@given(content=spoiled(HISTORY.encode() * 2))
def test_histories(folder, content):
    frame = value_or_refusal("history", read_history, put(folder, "history.csv", content))
    assert frame is None or frame["step"].dtype.kind == "i"


def with_row(cells: list[str]) -> bytes:
    row = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    return (PREDICTIONS + row + "\n").encode("utf-8", "surrogatepass")


@FUZZ
@given(content=spoiled(PREDICTIONS.encode()) | st.lists(odd_text, min_size=7, max_size=7).map(with_row))
def test_predictions(folder, content):
    frame = value_or_refusal("predictions", read_predictions, put(folder, "predictions.csv", content))
    assert frame is None or frame["label"].dtype.kind == "i"
