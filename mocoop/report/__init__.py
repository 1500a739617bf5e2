"""One HTML file of an output tree: tables, figures, settings and what is missing, to be read without the tree."""

from mocoop.report.write import write_report

__all__ = ["write_report"]
