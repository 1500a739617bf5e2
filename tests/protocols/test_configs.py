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
    write("Adapter/default.yaml")
    write("Adapter/few_shot.yaml")
    assert chosen(tmp_path) == ("default", "configs/trainers/Adapter/default.yaml")
    assert chosen(tmp_path, "few_shot") == ("few_shot", "configs/trainers/Adapter/few_shot.yaml")


def test_a_default_may_be_a_folder_with_a_file_for_each_dataset(tmp_path, write):
    write("Adapter/xd/default.yaml")
    write("Adapter/xd/imagenet.yaml")
    write("Adapter/default/dtd.yaml")
    assert chosen(tmp_path, "xd", "imagenet") == ("xd", "configs/trainers/Adapter/xd/imagenet.yaml")
    assert chosen(tmp_path, "xd", "dtd") == ("xd", "configs/trainers/Adapter/xd/default.yaml")
    assert chosen(tmp_path, "dg", "dtd") == ("default", "configs/trainers/Adapter/default/dtd.yaml")


def test_the_shapes_sets_take_tiny_where_there_is_one(tmp_path, write):
    write("Adapter/default.yaml")
    assert chosen(tmp_path, dataset="shapes_both")[0] == "default"
    write("Adapter/tiny.yaml")
    assert chosen(tmp_path, dataset="shapes_both")[0] == "tiny" and chosen(tmp_path)[0] == "default"


def test_a_method_without_a_default_is_named_with_what_it_has(tmp_path, write):
    write("Adapter/vit_b16.yaml")
    write("Adapter/paper/dtd.yaml")
    with pytest.raises(ConfigError) as caught:
        chosen(tmp_path)
    folder = "configs/trainers/Adapter"
    expected = f"no configuration {folder}/base2new.yaml or {folder}/base2new/dtd.yaml; write it or set CFG to one of:"
    assert str(caught.value) == f"{expected} paper vit_b16"


def test_the_last_epoch_is_that_of_the_last_override_else_of_the_file(tmp_path, write):
    write("A/a.yaml", "OPTIM: {MAX_EPOCH: 7}  # in flow style\n")
    assert last_epoch(tmp_path, "configs/trainers/A/a.yaml", ("OPTIM.LR", "1")) == "7"
    assert last_epoch(tmp_path, "configs/trainers/A/a.yaml", ("OPTIM.MAX_EPOCH", "2", "OPTIM.MAX_EPOCH", "3")) == "3"


@pytest.mark.parametrize("key", ["MAX_ITER", "ITERS_PER_SHOT"])
def test_iterations_make_epochs_that_only_the_data_tell(tmp_path, write, key):
    write("A/a.yaml", f"OPTIM: {{{key}: 7, MAX_EPOCH: 3}}\n")
    assert last_epoch(tmp_path, "configs/trainers/A/a.yaml", ("OPTIM.MAX_EPOCH", "2")) is None
    assert last_epoch(tmp_path, "configs/trainers/A/a.yaml", (f"OPTIM.{key}", "0")) == "3"


def test_the_best_model_is_of_no_known_epoch(tmp_path, write):
    write("A/a.yaml", "OPTIM: {MAX_EPOCH: 3}\nTEST: {FINAL_MODEL: best_val}\n")
    assert last_epoch(tmp_path, "configs/trainers/A/a.yaml", ()) is None
    assert last_epoch(tmp_path, "configs/trainers/A/a.yaml", ("TEST.FINAL_MODEL", "last_step")) == "3"


@pytest.mark.parametrize("text", ["", "3\n", "OPTIM:\n  LR: 1\n", "OPTIM: 3\n", "{", "\0"])
def test_a_file_without_epochs_is_one_line(tmp_path, write, text):
    write("A/a.yaml", text)
    with pytest.raises(ConfigError, match="configs/trainers/A/a.yaml") as caught:
        last_epoch(tmp_path, "configs/trainers/A/a.yaml", ())
    assert "\n" not in str(caught.value)
