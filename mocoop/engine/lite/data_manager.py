"""The loaders of a run: training, validation and test batches of the dataset that the config names."""

from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mocoop.engine.lite.data_loader import build_data_loader
from mocoop.engine.lite.dataset import Datum
from mocoop.engine.lite.registry import DATASET_REGISTRY
from mocoop.engine.lite.transforms import build_transform


class DataManager:
    """Builds the dataset, its transforms and its loaders.

    Attributes: dataset, train_loader_x, val_loader (None without such images), test_loader, num_classes,
    lab2cname ({label: class name}).
    """

    def __init__(self, cfg: CfgNode):
        self.dataset = DATASET_REGISTRY.build("DATASET.NAME", cfg.DATASET.NAME, cfg)
        transforms = {is_train: build_transform(cfg, is_train=is_train) for is_train in (True, False)}

        def loader(images: list[Datum] | None, node: CfgNode, is_train: bool = False) -> DataLoader:
            return build_data_loader(cfg, node.SAMPLER, images, node.BATCH_SIZE, transforms[is_train], is_train)

        self.train_loader_x = loader(self.dataset.train_x, cfg.DATALOADER.TRAIN_X, is_train=True)
        self.val_loader = loader(self.dataset.val, cfg.DATALOADER.TEST) if self.dataset.val else None
        self.test_loader = loader(self.dataset.test, cfg.DATALOADER.TEST)
        self.num_classes = self.dataset.num_classes
        self.lab2cname = self.dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    def show_dataset_summary(self, cfg: CfgNode) -> None:
        """Print the name, domains, and numbers of classes and images of the dataset."""
        data = self.dataset
        rows = [("Dataset", cfg.DATASET.NAME), ("Source", cfg.DATASET.SOURCE_DOMAINS)]
        rows += [("Target", cfg.DATASET.TARGET_DOMAINS), ("# classes", f"{self.num_classes:,}")]
        splits = {"train_x": data.train_x, "val": data.val, "test": data.test}
        rows += [(f"# {name}", f"{len(images):,}") for name, images in splits.items() if images]
        rows = [(name, str(value)) for name, value in rows if value]
        width = max(len(name) for name, _ in rows)
        rule = f"{'-' * width}  {'-' * max(len(value) for _, value in rows)}"
        print("\n".join([rule, *(f"{name:<{width}}  {value}" for name, value in rows), rule]))
