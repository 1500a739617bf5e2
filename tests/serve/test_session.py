"""What the page shows, without gradio: answers, what is left out, and HTML."""

import shutil

import pytest
import torch

from mocoop.clip.openai import clip
from mocoop.errors import ConfigError, DataError
from mocoop.images import read_image
from mocoop.runs.trained_run import load_run
from mocoop.serve import page
from mocoop.serve import session as session_module
from mocoop.serve.session import Answer, AnsweredImage, Expert, Session, answer_images


@pytest.fixture(scope="module")
def images(trained_runs):
    return sorted((trained_runs.data_root / "shapes_both/images").rglob("*_00.png"))[::13][:4]


@pytest.fixture(scope="module")
def mocoop(trained_runs):
    return load_run(trained_runs.of("mocoop"))


@pytest.fixture(scope="module")
def coop(trained_runs):
    return load_run(trained_runs.of("coop"))


def similarity_by_clip(run, image, label):
    """f(x) . p[g, y] of each group, by CLIP's own encoders, one sentence at a time."""
    model, groups = run.method.clip_model, run.method.groups.values()
    feature = torch.nn.functional.normalize(model.encode_image(image.unsqueeze(0)), dim=-1)[0]
    found = []
    for templates in groups:
        sentences = [template.replace("{}", run.classnames[label]) for template in templates]
        rows = [model.encode_text(clip.tokenize([sentence]))[0] for sentence in sentences]
        mean = torch.stack([row / row.norm() for row in rows]).mean(0)
        found.append(float(feature @ mean / mean.norm()))
    return found


def test_answers_are_the_runs_predictions_and_say_what_the_router_saw(mocoop, images):
    pictures = [read_image(path) for path in images]
    batch = torch.stack([mocoop.transform(picture) for picture in pictures])
    output = mocoop.predict(batch)
    for i, answer in enumerate(answer_images(mocoop, pictures)):
        values, labels = output["logits"][i].softmax(-1).sort(descending=True)
        assert [name for name, _ in answer.classes] == [mocoop.classnames[label] for label in labels[:5]]
        assert [value for _, value in answer.classes] == pytest.approx(values[:5].tolist(), abs=1e-6)
        by_name = {expert.name: expert for expert in answer.experts}
        for e, gate in zip(output["experts"][i].tolist(), output["gates"][i].tolist()):
            assert by_name[mocoop.group_names[e]].weight == pytest.approx(gate)
        assert sum(expert.weight is not None for expert in answer.experts) == 2
        shares = output["router_logits"][i].softmax(-1).tolist()
        assert [by_name[name].share for name in mocoop.group_names] == pytest.approx(shares)
        with torch.no_grad():
            expected = similarity_by_clip(mocoop, batch[i], int(labels[0]))
        assert [by_name[name].similarity for name in mocoop.group_names] == pytest.approx(expected, abs=1e-5)


def test_a_session_compares_runs_over_the_names_that_are_asked_for(mocoop, coop, images):
    session = Session([coop, mocoop])
    seen, left_out = session.answer([str(path) for path in images], session.names)
    assert len(seen) == 4 and all(len(one.answers) == 2 for one in seen) and left_out == ""
    names = session.names_in("a red circle, a blue_star")
    assert names == ["a red circle", "a blue_star"] == session.names_in("a red circle\n\n a blue_star ")
    for one in session.answer([str(images[0])], names)[0]:
        assert all({name for name, _ in answer.classes} == set(names) for answer in one.answers)
    for text, message in (("", "one or more"), ("a\na", "more than once"), (",".join(map(str, range(2001))), "2,001")):
        with pytest.raises(ConfigError, match=message):
            session.names_in(text)


def test_what_is_left_out_is_said(coop, images, tmp_path, monkeypatch):
    session = Session([coop])
    shutil.copy(images[0], tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("mine")
    paths = [str(path) for path in tmp_path.iterdir()]
    seen, left_out = session.answer(paths, session.names)
    assert [one.name for one in seen] == ["good.png"]
    assert "1 that are no images" in left_out and "bad.png" in left_out and str(tmp_path) not in left_out
    with pytest.raises(DataError, match="no image could be read"):
        session.answer([str(tmp_path / "bad.png")], session.names)
    monkeypatch.setattr(session_module, "MOST_IMAGES", 2)
    seen, left_out = session.answer([str(path) for path in images], session.names)
    assert len(seen) == 2 and left_out == "Left out: 2 beyond the first 2."


def test_a_run_bound_to_other_classes_is_refused_at_once(mocoop, trained_runs):
    with pytest.raises(ConfigError, match="context for each"):
        Session([mocoop.with_classes(["red circle", "blue star"]), load_run(trained_runs.of("coop-csc"))])


def test_the_page_escapes_names_and_says_who_answered(mocoop, images):
    experts = [Expert("<i>dark", 0.7, 0.6, 0.3), Expert("photo", 0.3, 0.3, 0.1), Expert("small", None, 0.1, 0.2)]
    answers = [Answer([("<b>star", 0.75)], experts), Answer([("circle", 0.5)], [])]
    seen = AnsweredImage("<script>.png", read_image(images[0]), answers)
    html = page.details(seen, [mocoop, mocoop])
    assert "<script>" not in html and "<b>star" not in html and "<i>dark" not in html and "&lt;b&gt;star" in html
    assert "The runs disagree" in html and page.caption(seen).startswith("≠ <b>star 75")
    assert page.why(answers[0]) == "<i>dark (70 %) and photo (30 %) answered. Nearest by hand-written prompts: " + (
        "<i>dark and small."
    )
    assert page.bar(0.3, experts) == pytest.approx(100) and page.bar(0.1, experts) == 0
    assert "&lt;b&gt;" in page.notice("<b>") and page.notice("") == "" and "alert" in page.notice("x", is_error=True)
