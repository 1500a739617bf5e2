"""MoCoOp: its keys, router, losses and the method itself."""
