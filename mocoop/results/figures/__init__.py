"""Figures of many runs, for a screen or a printed page: a function each, returning a matplotlib figure."""
