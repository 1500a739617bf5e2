"""MoCoOp, mixture of prompt learning for vision-language models, and its baselines for Dassl and CoOp."""

__version__ = "0.2.0"
