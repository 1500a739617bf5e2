import pytest
import torch

from mocoop.engine.lite.config import get_cfg_default
from mocoop.engine.lite.trainer import build_evaluator
from mocoop.errors import ConfigError, DataError


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR = str(tmp_path)
    return cfg


def evaluate(cfg, truth, guesses, num_classes=4):
    evaluator = build_evaluator(cfg, lab2cname={0: "cat", 1: "dog", 2: "cow", 3: "hen"})
    evaluator.reset()
    for start in range(0, len(truth), 3):
        scores = torch.nn.functional.one_hot(torch.tensor(guesses[start : start + 3]), num_classes).float()
        evaluator.process(scores, torch.tensor(truth[start : start + 3]))
    return evaluator.evaluate()


def test_results_and_lines(cfg, capsys):
    results = evaluate(cfg, [0, 0, 1, 1, 2], [0, 1, 1, 1, 3])
    # F1: class 0: 2/3, class 1: 4/5, class 2: 0; class 3 has no image and does not count
    assert results == pytest.approx({"accuracy": 60.0, "error_rate": 40.0, "macro_f1": 100 * (2 / 3 + 4 / 5) / 3})
    assert next(iter(results)) == "accuracy"
    assert capsys.readouterr().out.splitlines()[1:] == [
        "=> result",
        "* total: 5",
        "* correct: 3",
        "* accuracy: 60.0%",
        "* error: 40.0%",
        "* macro_f1: 48.9%",
    ]


def test_per_class(cfg, capsys):
    cfg.TEST.PER_CLASS_RESULT = True
    results = evaluate(cfg, [0, 0, 1, 1, 2], [0, 1, 1, 1, 3])
    assert results["perclass_accuracy"] == pytest.approx(50.0)
    assert capsys.readouterr().out.splitlines()[-5:] == [
        "=> per-class result",
        "* class: 0 (cat)\ttotal: 2\tcorrect: 1\tacc: 50.0%",
        "* class: 1 (dog)\ttotal: 2\tcorrect: 2\tacc: 100.0%",
        "* class: 2 (cow)\ttotal: 1\tcorrect: 0\tacc: 0.0%",
        "* average: 50.0%",
    ]


def test_confusion_matrix(cfg, tmp_path):
    cfg.TEST.COMPUTE_CMAT = True
    evaluate(cfg, [0, 0, 1, 1], [0, 1, 1, 1])
    matrix = torch.load(tmp_path / "cmat.pt", weights_only=True)
    assert matrix.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_reset_forgets(cfg):
    evaluator = build_evaluator(cfg)
    evaluator.process(torch.eye(2), torch.tensor([1, 0]))
    evaluator.reset()
    evaluator.process(torch.eye(2), torch.tensor([0, 1]))
    assert evaluator.evaluate()["accuracy"] == 100.0


def test_nothing_to_evaluate_and_unknown_names(cfg):
    with pytest.raises(DataError, match="got no image"):
        build_evaluator(cfg).evaluate()
    cfg.TEST.EVALUATOR = "Clasification"
    with pytest.raises(ConfigError, match='TEST.EVALUATOR: got "Clasification".*did you mean "Classification"'):
        build_evaluator(cfg)
