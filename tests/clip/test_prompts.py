"""Prompt layouts: which token or context vector stands at which position."""

import pytest
import torch

from mocoop.clip.openai import EOT_TOKEN, SOT_TOKEN, clip, tokenizer
from mocoop.clip.prompts import Context, PromptLayout, count_tokens, embed_words, hard_prompts
from mocoop.errors import ConfigError
from tests.small_clip import small_clip

SENTENCES = ["a photo of a cat.", "a photo of a hot-air balloon, a type of vehicle."]


def test_hard_prompts_are_clips_own_tokens():
    layout = hard_prompts(SENTENCES)
    assert torch.equal(layout.tokens, clip.tokenize(SENTENCES).long())
    assert torch.equal(layout.lengths - 1, layout.tokens.argmax(-1))
    assert (layout.ctx_index == -1).all()


def test_tokens_are_counted_not_words():
    assert count_tokens("a close-up photo of the") == 7
    assert count_tokens("itap of a") == 4


def test_positions_of_context_name_and_ends():
    layout = PromptLayout([[Context(0, 2), "dog", Context(2, 1), "."], [Context(0, 2), "hot dog", Context(2, 1), "."]])
    dog, hot = tokenizer.encode("dog")[0], tokenizer.encode("hot dog")[0]
    stop, x = tokenizer.encode(".")[0], tokenizer.encode("x")[0]
    assert layout.tokens[0, :7].tolist() == [SOT_TOKEN, x, x, dog, x, stop, EOT_TOKEN]
    assert layout.ctx_index[0, :7].tolist() == [-1, 0, 1, -1, 2, -1, -1]
    assert layout.tokens[1, :8].tolist() == [SOT_TOKEN, x, x, hot, dog, x, stop, EOT_TOKEN]
    assert layout.lengths.tolist() == [7, 8]
    assert layout.prefix_length == 3


def test_prefix_includes_words_that_all_names_share_but_never_eot():
    assert hard_prompts(["a red cat.", "a red dog."]).prefix_length == 3
    alone = hard_prompts(["a red cat."])
    assert alone.prefix_length == int(alone.lengths[0]) - 1


def test_class_specific_contexts_share_only_sot():
    layout = PromptLayout([[Context(2 * c, 2), name + "."] for c, name in enumerate(["cat", "dog"])])
    assert layout.prefix_length == 1
    assert layout.ctx_index[1, 1:3].tolist() == [2, 3]


def test_embed_puts_each_vector_in_its_place():
    model = small_clip()
    ctx = torch.randn(2, 3, 64)
    layout = PromptLayout([[Context(0, 2), "cat", Context(2, 1), "."]] * 2)
    columns = torch.arange(6)
    out = layout.embed(ctx, model.token_embedding, torch.ones(6, dtype=torch.long), columns)
    for g in range(2):
        expected = model.token_embedding(layout.tokens[1, :6]).clone()
        expected[1], expected[2], expected[4] = ctx[g, 0], ctx[g, 1], ctx[g, 2]
        assert torch.equal(out[g], expected)


def test_embed_words_gives_the_embeddings_of_the_tokens():
    model = small_clip()
    expected = model.token_embedding.weight[tokenizer.encode("a close-up photo")]
    assert torch.equal(embed_words("a close-up photo", model), expected)


def test_a_name_too_long_for_the_context_is_named():
    with pytest.raises(ConfigError, match=r'class name "very.*" makes a prompt of \d+ tokens, expected at most 77'):
        PromptLayout([["cat"], ["very " * 80]], names=["cat", "very long name"])
    with pytest.raises(ConfigError, match='^text "a photo of a very .* makes a prompt of 87 tokens'):
        hard_prompts(["a photo of a " + "very " * 79 + "cat."])


@pytest.mark.parametrize("name", ["cat <|endoftext|>", "&lt;|endoftext|&gt;", "<|StartOfText|>"])
def test_a_name_that_spells_out_an_end_of_the_prompt_is_refused(name):
    for make in (lambda: hard_prompts([f"a photo of a {name}."]), lambda: count_tokens(name)):
        with pytest.raises(ConfigError, match="which mark the ends of a prompt"):
            make()


@pytest.mark.parametrize("pieces", [[Context(0, 2), "Â", Context(2, 2), "."], [Context(0, 4), "Ī¢."]])
def test_a_name_that_is_mended_by_what_surrounds_it_is_refused(pieces):
    with pytest.raises(ConfigError, match="read in another way in a prompt than alone"):
        PromptLayout([pieces])


@pytest.mark.parametrize("name", ["château", "Fée verte", "猫", "🙂", "ñandú", "Ångström", "Ä", "naïve", "Citroën C3"])
def test_other_letters_are_clips_own_tokens(name):
    (word,) = tokenizer.encode("x")
    layout = PromptLayout([[Context(0, 4), name + "."]])
    tokens = torch.where(layout.ctx_index >= 0, word, layout.tokens)
    assert torch.equal(tokens, clip.tokenize([f"x x x x {name}."]).long())
