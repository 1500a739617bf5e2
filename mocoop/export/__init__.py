"""A trained run as a folder that needs neither Dassl nor this library: weights, ONNX, and a use of plain clip."""

from mocoop.export.folder import export_run

__all__ = ["export_run"]
