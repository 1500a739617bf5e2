import pytest

from mocoop.errors import ConfigError
from mocoop.protocols.configs import choose_config, config_folder, default_configs, last_epoch


@pytest.fixture
def write(tmp_path):
    def write(path: str, text: str = "") -> None:
        (tmp_path / "configs/trainers" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs/trainers" / path).write_text(text)

    return write


def chosen(checkout, protocol="base2new", dataset="dtd", shots=16) -> tuple[str, str]:
    """The default of a method that nobody has told about."""
    return choose_config(
        checkout, config_folder(checkout, "Adapter"), default_configs("Adapter", protocol, dataset, shots), dataset
    )


def test_a_methods_default_is_named_after_the_protocol_else_default(tmp_path, write):
    """It may be a folder with a file for each dataset; the Shapes sets take tiny where there is one."""
    write("Adapter/default.yaml")
    write("Adapter/few_shot.yaml")
    assert chosen(tmp_path) == ("default", "configs/trainers/Adapter/default.yaml")
    assert chosen(tmp_path, "few_shot") == ("few_shot", "configs/trainers/Adapter/few_shot.yaml")
    assert chosen(tmp_path, dataset="shapes_both")[0] == "default"
    write("Adapter/tiny.yaml")
    assert chosen(tmp_path, dataset="shapes_both")[0] == "tiny" and chosen(tmp_path)[0] == "default"
    (tmp_path / "configs/trainers/Adapter/default.yaml").unlink()
    write("Adapter/default/dtd.yaml")
    write("Adapter/xd/default.yaml")
    write("Adapter/xd/imagenet.yaml")
    assert chosen(tmp_path, "xd", "imagenet") == ("xd", "configs/trainers/Adapter/xd/imagenet.yaml")
    assert chosen(tmp_path, "xd", "dtd") == ("xd", "configs/trainers/Adapter/xd/default.yaml")
    assert chosen(tmp_path, "dg", "dtd") == ("default", "configs/trainers/Adapter/default/dtd.yaml")


def test_a_method_without_a_default_is_named_with_what_it_has(tmp_path, write):
    write("Adapter/vit_b16.yaml")
    write("Adapter/paper/dtd.yaml")
    with pytest.raises(ConfigError) as caught:
        chosen(tmp_path)
    folder = "configs/trainers/Adapter"
    expected = f"no configuration {folder}/base2new.yaml or {folder}/base2new/dtd.yaml; write it or set CFG to one of:"
    assert str(caught.value) == f"{expected} paper vit_b16"


A = "configs/trainers/A/a.yaml"


@pytest.mark.parametrize(
    "text, overrides, epoch",
    [
        ("OPTIM: {MAX_EPOCH: 7}  # in flow style", ("OPTIM.LR", "1"), "7"),
        ("OPTIM: {MAX_EPOCH: 7}", ("OPTIM.MAX_EPOCH", "2", "OPTIM.MAX_EPOCH", "3"), "3"),
        # iterations make epochs that only the data tell, and the best model is of no known one
        ("OPTIM: {MAX_ITER: 7, MAX_EPOCH: 3}", ("OPTIM.MAX_EPOCH", "2"), None),
        ("OPTIM: {MAX_ITER: 7, MAX_EPOCH: 3}", ("OPTIM.MAX_ITER", "0"), "3"),
        ("OPTIM: {ITERS_PER_SHOT: 7, MAX_EPOCH: 3}", ("OPTIM.MAX_EPOCH", "2"), None),
        ("OPTIM: {ITERS_PER_SHOT: 7, MAX_EPOCH: 3}", ("OPTIM.ITERS_PER_SHOT", "0"), "3"),
        ("OPTIM: {MAX_EPOCH: 3}\nTEST: {FINAL_MODEL: best_val}", (), None),
        ("OPTIM: {MAX_EPOCH: 3}\nTEST: {FINAL_MODEL: best_val}", ("TEST.FINAL_MODEL", "last_step"), "3"),
    ],
)
def test_the_last_epoch_is_that_of_the_last_override_else_of_the_file(tmp_path, write, text, overrides, epoch):
    write("A/a.yaml", f"{text}\n")
    assert last_epoch(tmp_path, A, overrides) == epoch


@pytest.mark.parametrize("text", ["", "3\n", "OPTIM:\n  LR: 1\n", "OPTIM: 3\n", "{", "\0"])
def test_a_file_without_epochs_is_one_line(tmp_path, write, text):
    write("A/a.yaml", text)
    with pytest.raises(ConfigError, match=A) as caught:
        last_epoch(tmp_path, A, ())
    assert "\n" not in str(caught.value)
