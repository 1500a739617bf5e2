"""Checkpoints in the form of the authors' trainers: their folders, their names, all of CLIP beside what is learned."""

import json

import pytest
import torch

import train
from mocoop.results.csv_files import read_predictions
from mocoop.runs.trained_run import load_run
from mocoop.training.checkpoint import FOREIGN_MODELS

BUFFERS = ("token_prefix", "token_suffix")


def as_coop(state):
    return state | {name: torch.zeros(6, 3, 128) for name in BUFFERS}


def as_kgcoop(state):
    """With layers that the release builds and never uses."""
    return as_coop(state) | {"bias_vectors": torch.zeros(1, 512), "meta_net.0.weight": torch.zeros(4, 4)}


def as_lasp(state):
    renamed = {"ctx": "prompt_learner.ctx", "correction": "prompt_learner.w"}
    norms = {name: name.replace("layer_norms.", "image_encoder.").replace("/", ".") for name in state}
    return {renamed.get(name, norms[name]): value for name, value in state.items()}


def as_maple(state):
    return {f"prompt_learner.{name}": value for name, value in as_coop(state).items()}


def as_coprompt(state):
    """The adapters' layers lie in `fc`, beside the prompt learner."""
    adapters = {name: value for name, value in state.items() if name.startswith("adapter_")}
    prompts = {name: value for name, value in state.items() if name not in adapters}
    return as_maple(prompts) | {name.replace(".", ".fc.", 1): value for name, value in adapters.items()}


def as_skip_tuning(state):
    """Parameters of CLIP's towers, under their names there."""
    kinds = {"text_weights.": "text_encoder.", "image_weights.": "image_encoder."}
    parts = ((start, name) for name in state for start in kinds if name.startswith(start))
    return {name.replace(start, kinds[start]).replace("/", "."): state[name] for start, name in parts}


def as_ivlp(state):
    found = {f"prompt_learner.{name}": torch.zeros(6, 3, 128) for name in BUFFERS}
    for name, value in state.items():
        kind, _, block = name.partition(".")
        if kind == "text_prompts":
            found[f"text_encoder.transformer.resblocks.{int(block) + 1}.VPT_shallow"] = value
        elif kind == "visual_prompts":
            place = f"transformer.resblocks.{block}.VPT_shallow" if block != "0" else "VPT"
            found[f"image_encoder.{place}"] = value
        else:
            found[f"prompt_learner.{name}"] = value
    return found


def as_dept(state):
    """All of the base under its prompt learner."""
    return {name.replace("base.", "prompt_learner."): value for name, value in state.items()} | {
        f"prompt_learner.{name}": torch.zeros(6, 3, 128) for name in BUFFERS
    }


def as_mma(state):
    """Blocks counted from 1."""
    found = {"token_embedding": torch.zeros(6, 77, 128), "tokenized_prompts": torch.zeros(6, 77, dtype=torch.long)}
    for name, value in state.items():
        kind, block, rest = name.split(".", 2)
        found[f"{kind}.{int(block) + 1}.{rest}"] = value
    return found


def as_mmrl(state):
    """The second projection, or what is added to it, lies in the image tower."""
    tower = ("proj_rep", "A", "B")
    return {f"{'image_encoder' if n in tower else 'representation_learner'}.{n}": v for n, v in state.items()}


def as_atprompt(state):
    """With a third context, which two attributes do not need."""
    names = ("ctx_att1", "ctx_att2", "ctx")
    return as_coop(dict(zip(names, state["ctx"].split(2)))) | {"ctx_att3": torch.zeros(2, 128)}


def as_tac(state):
    """IVLP's, the clusters in two places, and what maps them."""
    layers = {name.replace("to_text", "VPT_topk_t").replace("to_image", "VPT_topk_v"): state[name] for name in state}
    clusters = dict.fromkeys(("topk", "prompt_learner.topk"), state["clusters"])
    return as_ivlp(state) | {name: v for name, v in layers.items() if name.startswith("VPT")} | clusters


RELEASES = {
    "CoOp": ("prompt_learner", as_coop),
    "CoCoOp": ("prompt_learner", as_coop),
    "KgCoOp": ("prompt_learner", as_kgcoop),
    "ProGrad": ("prompt_learner", as_coop),
    "TCP": ("prompt_learner", as_coop),
    "LASP": ("prompt_learner", as_lasp),
    "MaPLe": ("MultiModalPromptLearner", as_maple),
    "CoPrompt": ("MultiModalPromptLearner", as_coprompt),
    "SkipTuning": ("learnable_params", as_skip_tuning),
    "IVLP": ("VLPromptLearner", as_ivlp),
    "PromptSRC": ("VLPromptLearner", as_ivlp),
    "VPT": ("prompt_learner", as_ivlp),
    "TAC": ("VLPromptLearner", as_tac),
    "MMA": ("adapter_learner", as_mma),
    "DePT": ("PromptLearner", as_dept),
    "ATPrompt": ("prompt_learner", as_atprompt),
    "MMRL": ("MultiModalRepresentationLearner", as_mmrl),
    "MMRLpp": ("MultiModalRepresentationLearner", as_mmrl),
}
OF_CLIP = {"image_encoder.conv1.weight": torch.zeros(2, 2), "text_encoder.ln_final.weight": torch.zeros(4)}


def release(runs, tmp_path, name: str, change=lambda state: state):
    """The folder of the reference run, its last checkpoint as the method's authors would have written it."""
    folder, renamed = RELEASES[name]
    learned = change(load_run(runs.reference(name)).method.learned_state())
    whole = folder in FOREIGN_MODELS[:2] or name in ("LASP", "VPT", "MMRL", "MMRLpp")
    state = renamed(learned) | (OF_CLIP if whole else {})
    place = tmp_path / "release" / folder
    place.mkdir(parents=True)
    torch.save({"state_dict": state, "epoch": 4, "optimizer": {}, "val_result": None}, place / "model.pth.tar-4")
    return place.parent


def evaluate(runs, tmp_path, name: str, folder, *opts) -> int:
    flags = ["--eval-only", "--model-dir", str(folder), "--load-epoch", "4"]
    run = runs.new(name, *opts, flags=flags)
    run.out = tmp_path / "evaluated"
    return train.main(run.argv())


@pytest.mark.parametrize("name", RELEASES)
def test_one_is_evaluated_like_a_run_of_ours(runs, tmp_path, name):
    assert evaluate(runs, tmp_path, name, release(runs, tmp_path, name)) == 0
    found, own = (read_predictions(f / "predictions.csv") for f in (tmp_path / "evaluated", runs.reference(name)))
    assert found["prediction"].tolist() == own["prediction"].tolist()
    assert found["confidence"].tolist() == pytest.approx(own["confidence"].tolist(), abs=1e-6)
    assert json.loads((tmp_path / "evaluated/result.json").read_text())["epoch"] == 4


@pytest.mark.parametrize(
    "name, opts, message",
    [
        ("IVLP", ["TRAINER.IVLP.PROMPT_DEPTH_VISION", "3"], "visual_prompts.3 is not a parameter of this method"),
        ("IVLP", ["TRAINER.IVLP.PROMPT_DEPTH_TEXT", "1"], "text_prompts.0 is not a parameter of this method"),
        ("VPT", ["TRAINER.VPT.N_CTX_VISION", "4"], r"visual_prompts.0 has shape \(8, 128\), expected \(4, 128\)"),
        ("MaPLe", ["TRAINER.MAPLE.PROMPT_DEPTH", "1"], "compound_prompts_text.0 is not a parameter of this method"),
        ("LASP", ["TRAINER.LASP.CORRECTION", "False"], "correction is not a parameter of this method"),
    ],
)
def test_another_depth_or_width_is_refused_by_name(runs, tmp_path, capsys, name, opts, message):
    import re

    assert evaluate(runs, tmp_path, name, release(runs, tmp_path, name), *opts) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and re.search(message, error[0])
