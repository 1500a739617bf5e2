"""Whole protocols: which runs they consist of, and running them side by side to the tables."""
