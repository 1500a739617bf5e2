"""Class names and templates of any text: a layout has the tokens that CLIP gives the sentence, or there is an error."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mocoop.clip.openai import EOT_TOKEN, SOT_TOKEN, clip, tokenizer
from mocoop.clip.prompts import Context, PromptLayout, hard_prompts
from mocoop.clip.templates import fill, split_template, template_problem
from mocoop.errors import ConfigError
from mocoop.names import name_problem
from tests.hostile.fuzz import FUZZ, odd_text, value_or_refusal
from tests.hostile.names import BAD_NAMES, FINE_NAMES

(PLACEHOLDER,) = tokenizer.encode("x")
names = (
    odd_text
    | st.sampled_from([*BAD_NAMES.values(), *FINE_NAMES.values()])
    | st.text(alphabet="aé'’&;#x<>|.,!?-_ 09\u0301Ã©â€™\u200bßﬁ", max_size=12)
    | st.text(alphabet=st.characters(categories=["L", "M", "N", "P", "S", "Z", "Cf", "Co", "Cn"]), max_size=12)
)


def tokens_of(layout: PromptLayout) -> torch.Tensor:
    return torch.where(layout.ctx_index >= 0, PLACEHOLDER, layout.tokens)[0]


def checked_layout(pieces: list) -> PromptLayout:
    for piece in pieces:
        if isinstance(piece, str) and (problem := name_problem(piece)):
            raise ConfigError(problem)
    return PromptLayout([pieces])


def assert_clips_own(layout: PromptLayout, sentence: str) -> None:
    assert torch.equal(tokens_of(layout), clip.tokenize(sentence)[0].long()), sentence
    length = int(layout.lengths[0])
    assert layout.tokens[0, length - 1] == EOT_TOKEN and layout.tokens[0, 0] == SOT_TOKEN
    assert not set(layout.tokens[0, 1 : length - 1].tolist()) & {SOT_TOKEN, EOT_TOKEN}


@FUZZ
@given(name=names)
def test_a_name_behind_the_context(name):
    layout = value_or_refusal("class name", checked_layout, [Context(0, 4), name + "."])
    if layout:
        assert_clips_own(layout, f"x x x x {name}.")


@FUZZ
@given(name=names)
def test_a_name_within_the_context(name):
    layout = value_or_refusal("class name", checked_layout, [Context(0, 2), name, Context(2, 2), "."])
    if layout:
        assert_clips_own(layout, f"x x {name} x x .")


@FUZZ
@given(template=names, name=names)
def test_a_template_with_any_name(template, name):
    template = template if "{}" in template else template + " {}."
    if template_problem(template) or name_problem(name):
        return
    sentence = fill(template, name)
    assert sentence.count(name.replace("_", " ")) >= 1 and len(sentence) == len(template) - 2 + len(name)
    before, after = split_template(template)
    assert before in template and after in template
    layout = value_or_refusal("template", hard_prompts, [sentence])
    if layout:
        assert_clips_own(layout, sentence)
