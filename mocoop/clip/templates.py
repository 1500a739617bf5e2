"""Hand-written prompt templates: what a valid one is, and those the project carries per dataset.

A template is a sentence with one `{}` where the class name goes, e.g. "a photo of a {}.".
"""

import json
from functools import lru_cache
from importlib import resources

from mocoop.errors import one_line, quoted
from mocoop.names import odd_character

DEFAULT_TEMPLATE = "a photo of a {}."
LONGEST = 1000  # characters; CLIP reads 77 tokens, and looks at all that it is given before it counts them


@lru_cache(maxsize=1)
def _bundled() -> dict:
    return json.loads(resources.files("mocoop.clip").joinpath("templates.json").read_text(encoding="utf-8"))


def template_problem(template: object) -> str | None:
    """What is wrong with a template, in words, or None."""
    if not isinstance(template, str):
        return f"template {quoted(template)} is a {type(template).__name__}, expected a string"
    if len(template) > LONGEST:
        return f"template {quoted(template)} has {len(template):,} characters, expected at most {LONGEST}"
    if found := odd_character(template):
        return f"template {quoted(template)} holds {found}"
    if template.count("{}") != 1 or template.replace("{}", "").count("{") + template.replace("{}", "").count("}"):
        return f'template "{one_line(template, 80)}" must hold "{{}}" exactly once, where the class name goes'
    return None


def split_template(template: str) -> tuple[str, str]:
    """The words before and after the class name, without the final full stop.

    >>> split_template("a photo of a {}, a type of pet.")
    ('a photo of a', ', a type of pet')
    """
    before, after = template.split("{}")
    return before.strip(), after.strip().rstrip(".").rstrip()


def fill(template: str, classname: str) -> str:
    """The template with a class name in it; underscores of the name are read as spaces, as CoOp does."""
    return template.replace("{}", classname.replace("_", " "))


def single_template(dataset_name: str) -> str:
    """The hand-crafted template of a dataset; "a photo of a {}." for a dataset without one."""
    return _bundled()["single"].get(dataset_name, DEFAULT_TEMPLATE)


def anchor_template(method: str, dataset_name: str) -> str:
    """The template that a method holds its prompt near on a dataset; "a photo of a {}." where its authors name none."""
    return _bundled()["anchors"][method].get(dataset_name, DEFAULT_TEMPLATE)


def prompt_ending(method: str, dataset_name: str) -> str:
    """What stands behind a method's context on a dataset, with {} for the class; "{}." where its authors name none."""
    return _bundled()["endings"][method].get(dataset_name, "{}.")


def template_bank(method: str) -> list[str]:
    """The templates of which a method uses all, whatever the dataset."""
    return list(_bundled()["banks"][method])


def ensemble_templates(dataset_name: str) -> list[str]:
    """CLIP's seven selected templates, and the dataset's own one unless it is ImageNet (CoOp, ZeroshotCLIP2)."""
    templates = list(_bundled()["ensemble"])
    return templates if dataset_name == "ImageNet" else templates + [single_template(dataset_name)]


def template_groups(dataset_name: str) -> dict[str, list[str]]:
    """MoCoOp's groups for a dataset as {group name: templates}; the default groups for a dataset without its own."""
    groups = _bundled()["groups"].get(dataset_name, _bundled()["default_groups"])
    return {name: list(templates) for name, templates in groups.items()}
