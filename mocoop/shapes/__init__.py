"""Shapes: a procedural image benchmark whose classes are colour x texture x shape and whose domains are styles."""
