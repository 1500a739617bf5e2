"""CoPrompt: its two views, its sentences, and what it says of them."""

import json

import pytest
import torch

from mocoop.errors import ConfigError, DataError
from tests.methods.naive_recent import SENTENCES
from tests.methods.test_coop_and_cocoop import READABLE, build, images

LABEL = torch.tensor([0, 1, 2, 0])


def coprompt(**keys):
    return build("CoPrompt", PROMPT_DEPTH=2, **keys).double()


def test_it_learns_from_the_first_view_and_clip_sees_the_second():
    method, (first, second) = coprompt(), (images(), images().flip(-1))
    torch.manual_seed(3)
    both = method.loss(torch.stack([first, second], 1), LABEL)
    torch.manual_seed(3)
    one = method.loss(first, LABEL)
    assert torch.equal(both["loss_ce"], one["loss_ce"]) and torch.equal(both["loss_text"], one["loss_text"])
    seen = (method.image_features(first) * method.frozen_image_features(second)).sum(-1)
    assert both["loss_image"].item() == pytest.approx(1 - seen.mean().item())
    assert abs(both["loss_image"] - one["loss_image"]) > 1e-4


def test_one_sentence_for_each_class_is_drawn_in_a_step():
    method, image = coprompt(SENTENCES=str(SENTENCES)), images()
    assert method.sentences().shape == (3, 3, 32)
    with torch.no_grad():
        text = method.class_features()
        expected = [1 - (text * one).sum(-1).mean().item() for one in method.sentences()]
        found = [method.loss(image, LABEL)["loss_text"].item() for _ in range(40)]
    assert {min(range(3), key=lambda i: abs(value - expected[i])) for value in found} == {0, 1, 2}
    assert all(min(abs(value - each) for each in expected) < 1e-9 for value in found)


def test_a_class_with_fewer_sentences_starts_again():
    each = coprompt(SENTENCES=str(SENTENCES)).sentences()
    assert torch.equal(each[0, 2], each[1, 2]) and torch.equal(each[0, 1], each[2, 1])
    assert not torch.equal(each[0, 1], each[1, 1])


def test_without_a_file_it_is_taught_with_templates_and_says_so(caplog):
    method = coprompt()
    assert method.sentences().shape == (8, 3, 32)  # CLIP's seven, and OxfordPets' own
    assert "SENTENCES is empty: CoPrompt is taught with 8 templates" in caplog.text
    assert method.knowledge == ["template of the dataset"]
    chosen = coprompt(SENTENCES="any.json", W=8.0).knowledge
    assert chosen == ["sentences for each class", "settings chosen for the dataset"]


@pytest.mark.parametrize(
    "content, said",
    [
        ({"cat": ["A cat."], "oak tree": ["A tree."]}, "has None for the class 'hot air balloon'"),
        ({name: ["It."] for name in READABLE} | {"oak tree": []}, r"has \[\] for the class 'oak tree'"),
        ({name: "It." for name in READABLE}, "has 'It.' for the class 'cat', expected a list of sentences"),
        ({name: [" "] for name in READABLE}, "for the class 'cat'"),
        ([], "has None for the class 'cat'"),
    ],
)
def test_a_class_without_sentences_is_named(tmp_path, content, said):
    path = tmp_path / "sentences.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=said):
        coprompt(SENTENCES=str(path)).loss(images(), LABEL)


def test_a_file_is_read_for_training_alone(tmp_path):
    method = coprompt(SENTENCES=str(tmp_path / "none.json"))
    with torch.no_grad():
        assert method(images()).shape == (4, 3)
    with pytest.raises(DataError, match="none.json"):
        method.loss(images(), LABEL)
