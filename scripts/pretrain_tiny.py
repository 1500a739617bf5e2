"""Pre-train one of the embedded CLIPs on rendered picture-caption pairs and write its files. From the checkout:

    OMP_NUM_THREADS=1 python -m scripts.pretrain_tiny rn     # about 11 minutes of one core
    OMP_NUM_THREADS=1 python -m scripts.pretrain_tiny vit    # about an hour of one core

It is shipped by copying the two files to `mocoop/tiny/`. Pictures show only the combinations of
`mocoop.shapes.vocabulary.PRETRAINING`, in every style but painting, through a neutral camera. Those held out are only
used at the end, to measure zero-shot accuracy on pictures that belong to no set.
"""

import argparse
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop import tiny as store
from mocoop.clip.backbone import Preprocessing
from mocoop.clip.openai import CLIP, EOT_TOKEN, SOT_TOKEN, clip, tokenizer
from mocoop.shapes.render import render
from mocoop.shapes.sets import DATA_VERSION, SOURCES, STYLE_MIX, ShapesSet
from mocoop.shapes.vocabulary import COLOURS, PRETRAINING, SHAPES, STYLES, TEMPLATES, TEXTURES
from mocoop.training.run_state import set_random_seed

log = logging.getLogger("pretrain_tiny")

TEXT = {"embed_dim": 128, "image_resolution": 64}
TEXT |= {"transformer_width": 128, "transformer_heads": 2, "transformer_layers": 2}
ARCHITECTURES = {
    "rn": TEXT | {"vision_layers": [1, 1, 1, 1], "vision_width": 16, "vision_patch_size": None},
    "vit": TEXT | {"vision_layers": 4, "vision_width": 128, "vision_patch_size": 8},
}
IMAGES = Preprocessing((64, 64))
TEMPLATE = "a photo of a {}."
REPORT_SEED = 20_000  # no Shapes set is drawn from it


@dataclass(frozen=True)
class Recipe:
    """How a model is pre-trained; AdamW with linear warm-up and a cosine to zero."""

    steps: int
    batch: int = 256
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    precision: str = "bf16"
    seed: int = 1

    def lr_factor(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        return 0.5 + 0.5 * math.cos(math.pi * (step - self.warmup) / (self.steps - self.warmup))


RECIPES = {"rn": Recipe(steps=1164), "vit": Recipe(steps=5000, batch=128, lr=1e-3, warmup=200)}


# --- picture-caption pairs --------------------------------------------------------------------------------------

PRETRAINING_STYLES = tuple(style for style in STYLES if style != "painting")
STYLE_SHARES = np.array([0.28 if style == "photo" else 0.08 for style in PRETRAINING_STYLES])  # adds up to 1

NEUTRAL_TEMPLATES = (
    "a {}.", "the {}.", "an image of a {}.", "this is a {}.", "a {} before a wall.", "there is one {} in this image.",
)  # fmt: skip
NAMES_STYLE = 0.6
DROPS_WORD = 0.08
GENERIC_SHAPES = ("object", "shape", "thing")


def _pick(options: tuple[str, ...], number: float) -> str:
    return options[int(number * len(options))]


def caption(colour: int, texture: int, shape: int, style: str, rng: np.random.Generator) -> str:
    """Say what is seen: the style in 6 of 10 captions, now and then without colour, texture or the shape's name."""
    template, which, drop_colour, drop_texture, drop_shape, generic = rng.random(6)
    templates = TEMPLATES[style] if template < NAMES_STYLE else NEUTRAL_TEMPLATES
    words = [
        "" if drop_colour < DROPS_WORD else COLOURS[colour],
        "" if drop_texture < DROPS_WORD else TEXTURES[texture],
        _pick(GENERIC_SHAPES, generic) if drop_shape < DROPS_WORD / 2 else SHAPES[shape],
    ]
    return _pick(templates, which).format(" ".join(filter(None, words)))


def draw_pairs(count: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Random pre-training pairs: pictures (count, 64, 64, 3) uint8 and their captions."""
    combinations = np.array(PRETRAINING)[rng.integers(len(PRETRAINING), size=count)]
    styles = rng.choice(len(PRETRAINING_STYLES), size=count, p=STYLE_SHARES)
    captions = [
        caption(colour, texture, shape, PRETRAINING_STYLES[style], rng)
        for (colour, texture, shape), style in zip(combinations, styles, strict=True)
    ]
    codes = np.array([STYLES.index(style) for style in PRETRAINING_STYLES])[styles]
    colours, textures, shapes = combinations.T
    return render(colours, textures, shapes, codes, rng), captions


def every_caption() -> list[str]:
    """Captions in which each word that pre-training can use occurs."""
    templates = [t for style in PRETRAINING_STYLES for t in TEMPLATES[style]] + list(NEUTRAL_TEMPLATES)
    words = [*COLOURS, *TEXTURES, *SHAPES, *GENERIC_SHAPES]
    return [template.format(word) for template in templates for word in words]


# --- training ---------------------------------------------------------------------------------------------------


class Vocabulary:
    """The byte-pair tokens that pre-training uses, numbered from 0 for a compact embedding table."""

    def __init__(self, captions: list[str]):
        self.token_ids = sorted({t for c in captions for t in tokenizer.encode(c)} | {SOT_TOKEN, EOT_TOKEN})
        self.row = {token: row for row, token in enumerate(self.token_ids)}

    def tokenize(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Rows of each caption's tokens padded with EOT, (B, L), and the position of its EOT, (B,)."""
        encoded = [[SOT_TOKEN, *tokenizer.encode(caption)] for caption in captions]
        length = max(map(len, encoded)) + 1
        padded = [tokens + [EOT_TOKEN] * (length - len(tokens)) for tokens in encoded]
        rows = torch.tensor([[self.row[token] for token in tokens] for tokens in padded])
        return rows, torch.tensor([len(tokens) for tokens in encoded])


def encode_text(model: CLIP, rows: Tensor, eot: Tensor) -> Tensor:
    """CLIP's text features, (B, D), of captions cut to (B, L): what follows EOT never matters."""
    length = rows.shape[1]
    for block in model.transformer.resblocks:
        block.attn_mask = torch.full((length, length), -math.inf).triu(1)
    x = model.token_embedding(rows) + model.positional_embedding[:length]
    x = model.transformer(x.transpose(0, 1)).transpose(0, 1)  # CLIP's transformer takes (L, B, D)
    return model.ln_final(x[torch.arange(len(x)), eot]) @ model.text_projection


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, captions: list[str]) -> Tensor:
    """CLIP's symmetric loss of features (B, D); equal captions are equally right."""
    logits = scale * F.normalize(image.float()) @ F.normalize(text.float()).t()
    number = {caption: i for i, caption in enumerate(captions)}
    same = torch.tensor([number[caption] for caption in captions])
    target = F.normalize((same[:, None] == same).float(), p=1, dim=1)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def train(model: CLIP, vocabulary: Vocabulary, recipe: Recipe) -> None:
    """Train in place; `model.token_embedding` has the vocabulary's rows."""
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.lr_factor)
    model.train()
    for step in range(recipe.steps):
        pictures, captions = draw_pairs(recipe.batch, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            image = model.visual(normalised(pictures).contiguous(memory_format=torch.channels_last))
            text = encode_text(model, *vocabulary.tokenize(captions))
        loss = contrastive_loss(image, text, model.logit_scale.exp(), captions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=math.log(100))
        if step % 50 == 0 or step == recipe.steps - 1:
            log.info("step %d/%d loss %.3f scale %.1f", step, recipe.steps, loss.item(), model.logit_scale.exp().item())


# --- zero-shot accuracy, for the sidecar ------------------------------------------------------------------------


def normalised(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32, with the mean and deviation of CLIP's pixels."""
    mean, std = (torch.tensor(values) * 255 for values in (IMAGES.mean, IMAGES.std))
    return ((torch.from_numpy(pictures) - mean) / std).permute(0, 3, 1, 2)


@torch.inference_mode()
def text_features(model: CLIP, names: list[str]) -> Tensor:
    """Normalised features (C, D) of "a photo of a {name}."."""
    tokens = clip.tokenize([TEMPLATE.format(name) for name in names])
    return F.normalize(model.encode_text(tokens), dim=-1)


@torch.inference_mode()
def image_features(model: CLIP, pictures: np.ndarray, batch: int = 256) -> Tensor:
    """Normalised features (N, D) of pictures (N, 64, 64, 3) uint8."""
    parts = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
    return torch.cat([F.normalize(model.encode_image(normalised(part)), dim=-1) for part in parts])


def base_new_h(model: CLIP, shapes_set: ShapesSet, mix: dict[str, float], tint: str | None, per_class: int) -> dict:
    """Accuracy in percent on a set's base classes and on its new ones, each among themselves, and the harmonic mean."""
    rng = np.random.default_rng(REPORT_SEED)
    half = len(shapes_set.classes) // 2
    labels = np.repeat(np.arange(half), per_class)
    accuracy = []
    for part in (slice(half), slice(half, None)):
        codes = rng.choice([STYLES.index(style) for style in mix], size=len(labels), p=list(mix.values()))
        colours, textures, shapes = np.array(shapes_set.classes[part])[labels].T
        pictures = render(colours, textures, shapes, codes, rng, tint)
        scores = image_features(model, pictures) @ text_features(model, shapes_set.classnames[part]).t()
        accuracy.append(100 * (scores.argmax(1).numpy() == labels).mean())
    base, new = accuracy
    figures = {"base": base, "new": new, "H": 2 * base * new / max(base + new, 1e-9)}
    return {name: round(float(value), 1) for name, value in figures.items()}


def zeroshot_report(model: CLIP) -> dict:
    """Figures of each set in its mix of styles, by a neutral and by its own camera, and of each style on its own.

    The styles are those of ShapesBoth's classes by a neutral camera.
    """
    report = {}
    for source in SOURCES:
        cameras = {"neutral": None, source.tint: source.tint}
        report[source.name] = {k: base_new_h(model, source, STYLE_MIX, tint, 40) for k, tint in cameras.items()}
    report["styles"] = {style: base_new_h(model, SOURCES[-1], {style: 1.0}, None, 5) for style in STYLES}
    return report


def pretrain(name: str, recipe: Recipe, folder: Path) -> None:
    """Train, measure zero-shot accuracy as it will be loaded, and write both files to `folder`."""
    set_random_seed(recipe.seed)
    vocabulary, architecture = Vocabulary(every_caption()), ARCHITECTURES[name]
    model = store.build(architecture).to(memory_format=torch.channels_last)
    full_table = model.token_embedding
    model.token_embedding = nn.Embedding.from_pretrained(full_table.weight[vocabulary.token_ids].clone(), freeze=False)
    start = time.time()
    train(model, vocabulary, recipe)
    seconds = time.time() - start
    with torch.no_grad():
        full_table.weight[vocabulary.token_ids] = model.token_embedding.weight
    model.token_embedding = full_table
    packed = store.pack(model.to(memory_format=torch.contiguous_format), vocabulary.token_ids)
    report = zeroshot_report(store.unpack(packed, architecture))
    log.info("zero-shot %s", report)
    sidecar = {
        "format": 1,
        "name": name,
        "architecture": architecture,
        "recipe": asdict(recipe) | {"optimizer": "AdamW", "schedule": "linear warm-up, cosine to zero"},
        "data_version": DATA_VERSION,
        "trained_with": {"torch": torch.__version__, "threads": torch.get_num_threads(), "seconds": round(seconds)},
        "zero_shot": report,
    }
    store.save(name, packed, sidecar, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(ARCHITECTURES))
    parser.add_argument("--steps", type=int, help="train shorter or longer than the recipe")
    parser.add_argument("--output-dir", type=Path, default="output/tiny", help="where the two files go (%(default)s)")
    args = parser.parse_args()
    if (args.output_dir / f"{args.name}.safetensors").exists():
        parser.error(f"{args.output_dir} has a model {args.name!r}; remove it or pass another --output-dir")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = RECIPES[args.name]
    if args.steps:
        recipe = Recipe(**asdict(recipe) | {"steps": args.steps, "warmup": min(recipe.warmup, args.steps // 4)})
    pretrain(args.name, recipe, args.output_dir)


if __name__ == "__main__":
    main()
