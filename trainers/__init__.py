"""The registered trainers, one for each method; importing this package registers them all."""

from mocoop.training.trainer import register_trainers

register_trainers()
