"""Running averages for the training log."""

from collections import defaultdict


class AverageMeter:
    """The last value, and the average of all values or (`ema`) an exponential one with decay 0.9."""

    def __init__(self, ema=False):
        self.ema = ema
        self.reset()

    def reset(self):
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val, n=1):
        """Count `val` (a number or a one-element tensor) `n` times."""
        self.val = val.item() if hasattr(val, "item") else val
        self.sum += self.val * n
        self.count += n
        self.avg = 0.9 * self.avg + 0.1 * self.val if self.ema else self.sum / self.count


class MetricMeter:
    """One AverageMeter per name; as text, `name value (average)` for each."""

    def __init__(self, delimiter=" "):
        self.meters = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, values):
        """Count each of `values`, {name: number or one-element tensor}; None counts nothing."""
        if values is None:
            return
        if not isinstance(values, dict):
            raise TypeError(f"got {type(values).__name__}, expected a dict of values by name")
        for name, value in values.items():
            self.meters[name].update(value)

    def __str__(self):
        return self.delimiter.join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in self.meters.items())
