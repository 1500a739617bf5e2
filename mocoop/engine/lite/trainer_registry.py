"""Trainers by name."""

from mocoop.engine.lite.registry import Registry, check_availability

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg):
    """The trainer that `cfg.TRAINER.NAME` names, built. Raises ConfigError for an unknown name."""
    check_availability(cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names(), "TRAINER.NAME")
    if cfg.VERBOSE:
        print(f"Loading trainer: {cfg.TRAINER.NAME}")
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME)(cfg)
