"""Two small CLIPs that come with the library, for 64-pixel images: "rn" (ModifiedResNet) and "vit" (transformer).

They are OpenAI's unmodified class, pre-trained by `scripts/pretrain_tiny.py` on rendered pictures (mocoop/shapes); they
know some hundred words of that world and no other.
"""

from mocoop.tiny.store import NAMES, load, trained_tokens, untrained_words, weights_file

__all__ = ["NAMES", "load", "trained_tokens", "untrained_words", "weights_file"]
