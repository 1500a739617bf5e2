"""Spoiled yaml files and overrides."""

from hypothesis import given
from hypothesis import strategies as st

from mocoop.clip.templates import template_problem
from mocoop.config import MOST_PROBLEMS, fill, merge_file, merge_overrides
from mocoop.engine import get_cfg_default
from mocoop.methods import config_problems, extend_cfg
from mocoop.methods.mocoop.config import mocoop_problems, resolve_groups
from mocoop.results.record import plain_config
from tests.hostile.fuzz import FUZZ, LONGEST, odd_json, odd_text, spoiled, spoiled_json, value_or_refusal

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


def default():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.TRAINER.NAME = "MoCoOp"
    return cfg


def keys(node, prefix=""):
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


VALUES = ["1", "-1", "1e999", "(1, 2)", "[]", "{}", "None", "True", "'x'", "[['a {}.']]", "((("]
KEYS = sorted(keys(default()))


def merged(path):
    cfg = default()
    merge_file(cfg, str(path))
    return cfg


@FUZZ
@given(content=spoiled(YAML))
def test_yaml_bytes(folder, content):
    path = folder / "a.yaml"
    path.write_bytes(content)
    cfg = value_or_refusal("yaml", merged, path, longest=MOST_PROBLEMS * LONGEST)
    assert cfg is None or type(cfg.SEED) is int


@FUZZ
@given(text=st.text(alphabet=" \n\t:-[]{},&*!|>'\"%@`#?abc019.~<=\\SED", max_size=60))
def test_yaml_of_its_own_marks(folder, text):
    path = folder / "a.yaml"
    path.write_text(text)
    value_or_refusal("yaml", merged, path, longest=MOST_PROBLEMS * LONGEST)


@FUZZ
@given(
    key=st.sampled_from(KEYS) | odd_text,
    value=odd_text
    | st.sampled_from(["1", "-1", "1e999", "(1, 2)", "[]", "{}", "None", "True", "'x'", "[['a {}.']]", "((("]),
)
def test_overrides(key, value):
    cfg = default()
    value_or_refusal("override", merge_overrides, cfg, [key, value])


@FUZZ
@given(plain=spoiled_json(plain_config(default())))
def test_plain_values(plain):
    if isinstance(plain, dict):
        value_or_refusal("kept config", fill, default(), plain, "result.json")


@FUZZ
@given(groups=st.lists(odd_json, max_size=4), names=st.lists(odd_json, max_size=4))
def test_groups_of_templates(groups, names):
    cfg = default()
    cfg.TRAINER.MOCOOP.GROUPS, cfg.TRAINER.MOCOOP.GROUP_NAMES = groups, names
    problems = mocoop_problems(cfg)
    assert problems == config_problems(cfg)
    if not problems and groups:
        resolved = resolve_groups(cfg)
        assert len(resolved) == len(groups)
        assert all(template_problem(template) is None for group in resolved.values() for template in group)
