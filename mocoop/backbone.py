"""The public name of `load_clip`, wherever its code lives."""

from mocoop.clip.backbone import load_clip

__all__ = ["load_clip"]
