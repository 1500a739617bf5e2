"""Contexts that start from some words of a sentence, the rest of which stays, and rows that are put into towers."""

import pytest
import torch

from mocoop.clip.prompts import count_tokens, split_words
from mocoop.errors import ConfigError
from tests.methods.test_coop_and_cocoop import NAMES, build, images


def test_a_sentence_is_split_between_words_and_counted_in_tokens():
    assert split_words("a photo of a", 2) == ("a photo", "of a")
    assert split_words("a type of pet, a photo of a", 8) == ("a type of pet, a photo of", "a")
    assert split_words("a photo of a", 4) == ("a photo of a", "")
    assert count_tokens("pet,") == 2


def test_a_word_is_not_cut():
    with pytest.raises(ConfigError, match="4 context vectors end within a word of 'a type of pet, a photo of a'"):
        build("ProGrad", N_CTX=4)


@pytest.mark.parametrize("towers", ["text", "image"])
def test_nothing_is_put_into_a_tower_that_is_not_updated(towers):
    method = build("CLIPLoRA", TOWERS=towers)
    parts = {"text": method.text_parts(), "image": method.image_parts()}
    assert [tower for tower, own in parts.items() if own is not None] == [towers]


def test_no_word_stands_twice_where_there_are_fewer_vectors_than_words():
    method = build("ProGrad", N_CTX=5)
    assert method.layout.lengths[0] == 1 + 5 + count_tokens("a photo of a cat.") + 1


@pytest.mark.parametrize(
    "trained, fuse, weights",
    [(NAMES, True, (0.7, 0.3)), (NAMES[::-1], True, (0.7, 0.3)), (NAMES[:2], True, (1, 0)), (NAMES, False, (1, 0))],
)
def test_mmrl_scores_trained_classes_by_both_tokens_and_others_by_the_class_token(trained, fuse, weights):
    method = build("MMRL", FIRST_BLOCK=1, HEAD_CLASSES=tuple(trained), FUSE=fuse)
    with torch.no_grad():
        features, text = method.image_features(images()), method.encode_classes()
        expected = sum(w * method.logit_scale * features[:, i] @ text.t() for i, w in enumerate(weights))
        assert torch.allclose(method(images()), expected)


def test_what_the_authors_chose_by_dataset_is_knowledge():
    chosen = "settings chosen for the dataset"
    small = build("MMRL", FIRST_BLOCK=1)
    assert chosen not in small.knowledge
    assert chosen in build("MMRL", FIRST_BLOCK=1, REG_WEIGHT=0.2).knowledge
    with pytest.raises(ConfigError, match="TRAINER.MMRL.FIRST_BLOCK is 2, expected 0 to 1 for this CLIP"):
        build("MMRL", FIRST_BLOCK=2)
