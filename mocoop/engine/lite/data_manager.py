"""The loaders of a run: training, validation and test batches of the dataset that the config names."""

from mocoop.engine.lite.data_loader import build_data_loader
from mocoop.engine.lite.registry import DATASET_REGISTRY
from mocoop.engine.lite.transforms import build_transform


class DataManager:
    """Builds the dataset, its transforms and its loaders.

    Attributes: dataset, train_loader_x, val_loader (None without such images), test_loader, num_classes,
    num_source_domains, lab2cname ({label: class name}).
    """

    def __init__(self, cfg, custom_tfm_train=None, custom_tfm_test=None, dataset_wrapper=None):
        self.dataset = DATASET_REGISTRY.build("DATASET.NAME", cfg.DATASET.NAME, cfg)
        tfm_train = _transform(cfg, True, custom_tfm_train)
        tfm_test = _transform(cfg, False, custom_tfm_test)

        def training(images, node):
            options = {"tfm": tfm_train, "dataset_wrapper": dataset_wrapper}
            return build_data_loader(cfg, node.SAMPLER, images, node.BATCH_SIZE, **options)

        def testing(images):
            node = cfg.DATALOADER.TEST
            options = {"tfm": tfm_test, "is_train": False, "dataset_wrapper": dataset_wrapper}
            return build_data_loader(cfg, node.SAMPLER, images, node.BATCH_SIZE, **options)

        self.train_loader_x = training(self.dataset.train_x, cfg.DATALOADER.TRAIN_X)
        self.val_loader = testing(self.dataset.val) if self.dataset.val else None
        self.test_loader = testing(self.dataset.test)
        self.num_classes = self.dataset.num_classes
        self.num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self.lab2cname = self.dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    def show_dataset_summary(self, cfg):
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


def _transform(cfg, is_train, custom):
    if custom is None:
        return build_transform(cfg, is_train=is_train)
    print(f"* Using custom transform for {'training' if is_train else 'testing'}")
    return custom
