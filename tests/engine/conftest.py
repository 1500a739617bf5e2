import types

import pytest

from mocoop.engine.lite.config import get_cfg_default
from mocoop.engine.lite.registry import DATASET_REGISTRY, DatasetBase, Datum
from tests.engine import toy

LITE = types.SimpleNamespace(Datum=Datum, DatasetBase=DatasetBase)
DATASET_REGISTRY.register(toy.make_dataset_class(LITE), force=True)


@pytest.fixture(scope="session")
def image_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("colours")
    toy.write_dataset(root)
    return root


@pytest.fixture
def cfg(image_root, tmp_path):
    return toy.toy_cfg(get_cfg_default(), image_root, tmp_path / "output")
