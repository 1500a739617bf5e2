"""The registered trainers; importing this package registers them all."""

from trainers import cocoop, coop, mocoop, zsclip  # noqa: F401
