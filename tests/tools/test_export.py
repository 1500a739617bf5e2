import json

import pytest

from mocoop.runs.trained_run import load_run
from tests.tools.tool import Tool


@pytest.fixture
def export(trained_runs, capsys):
    tool = Tool("export", capsys)
    return lambda *argv, model="coop": tool(trained_runs.of(model), *argv)


def test_the_files_and_their_list(export, tmp_path):
    folder = tmp_path / "mes modèles/coop"
    status, out, _ = export("--to", folder, "--no-onnx")
    files = "model.safetensors backbone.safetensors model.json classes.json load_model.py pixels.py example.py"
    assert status == 0 and {path.name for path in folder.iterdir()} == set(files.split())
    assert len(out.splitlines()) == 7 and all("KiB  " in line and str(folder) in line for line in out.splitlines())


def test_new_class_names_and_a_folder_in_use(export, tmp_path):
    argv = ("--to", tmp_path / "x", "--no-onnx", "--classes", "red plain circle,blue striped star")
    assert export(*argv)[0] == 0
    assert json.loads((tmp_path / "x/classes.json").read_text()) == ["red plain circle", "blue striped star"]
    status, _, err = export(*argv)
    assert status == 2 and "holds files already" in err.splitlines()[-1]
    assert export(*argv, "--force")[0] == 0


def test_a_context_for_each_class_is_exported_with_its_own_classes_only(export, tmp_path, trained_runs):
    status, _, err = export("--to", tmp_path / "x", "--no-onnx", "--classes", "a,b", model="coop-csc")
    assert status == 2 and "has a context for each trained class" in err and not (tmp_path / "x").exists()
    assert export("--to", tmp_path / "x", "--no-onnx", model="coop-csc")[0] == 0
    classes = json.loads((tmp_path / "x/classes.json").read_text())
    assert classes == load_run(trained_runs.of("coop-csc")).classnames
