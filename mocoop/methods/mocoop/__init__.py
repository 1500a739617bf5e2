"""MoCoOp: its keys, router, losses and the method itself, which registers itself."""

from mocoop.methods.mocoop import method  # noqa: F401
