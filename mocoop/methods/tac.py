"""TAC, task-aware clustering (CVPR 2025, page 14745): IVLP with rows made of clusters of the classes' sentences."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.features import sentence_features
from mocoop.clip.prompts import readable
from mocoop.clip.tower_parts import TowerParts
from mocoop.late_imports import drawing_nothing
from mocoop.methods.base import batch_accuracy
from mocoop.methods.coop import noise_context, renamed
from mocoop.methods.coprompt import SENTENCES, cycled, sentences_for
from mocoop.methods.deep_prompts import before_blocks, beside_patches, released_rows, worded_layout
from mocoop.methods.ivlp import KEYS as IVLP_KEYS
from mocoop.methods.keys import Key
from mocoop.methods.on_features import FewShotFeatures
from mocoop.methods.promptsrc import PromptSRC
from mocoop.registry import register_method

_RELEASED = {"N_CTX_TEXT": 5, "N_CTX_VISION": 5}
_NEEDED = ("N_CTX_VISION", "PROMPT_DEPTH_VISION")
KEYS = (
    *(
        replace(key, default=_RELEASED.get(key.name, key.default), at_least=1 if key.name in _NEEDED else key.at_least)
        for key in IVLP_KEYS
        if key.name != "CTX_INIT"
    ),
    Key("CTX_INIT", "a photo of a", "words of every prompt; the context before them starts from their tokens",
        structural=True),
    Key("N_CLUSTERS", 5, "clusters of the trained classes, each one row of both towers", at_least=1, at_most=64,
        structural=True),
    Key("TEXT_LOSS_WEIGHT", 20.0, "weight of the distance to CLIP's text features", at_least=0.0),
    Key("IMAGE_LOSS_WEIGHT", 25.0, "weight of the distance to CLIP's image features", at_least=0.0),
    Key("DROPOUT", 0.3, "share of an image feature's values that training drops, of CLIP's own too (released: 0.3)",
        at_least=0.0, at_most=0.9),
    SENTENCES,
)  # fmt: skip


@register_method("TAC", node="TAC", keys=KEYS, published="2025-06", title="task-aware clustering")
class TAC(PromptSRC):
    """Learns what IVLP does, and `to_text` and `to_image`, which map `clusters` (K, D) to rows of both towers.

    After the last epoch it is the mean of all epochs' weights. The clusters stay those of the trained classes.
    """

    views = 4
    plain_view = True
    clusters: Tensor

    def setup(self) -> None:
        super().setup()
        size, settings = self.clip_model.embed_dim, self.settings
        self.register_buffer("clusters", torch.zeros(settings.N_CLUSTERS, size))
        self.to_text = nn.Linear(size, self.clip_model.text_width)
        self.to_image = nn.Linear(size, self.visual_prompts[0].shape[1])

    def start_prompt(self) -> None:
        """[SOT] [clusters] [context] [words] [class] [.] [EOT]; a context longer than the words goes on with EOT."""
        words, length, tokenizer = self.settings.CTX_INIT, self.settings.N_CTX_TEXT, self.clip_model.tokenizer
        if words:
            tokens = [*tokenizer.encode(readable(words)), *tokenizer.after, *[tokenizer.pad] * length]
            embedding = self.clip_model.token_embedding
            ctx = embedding(torch.tensor(tokens[:length], device=embedding.weight.device)).detach()
        else:
            ctx = noise_context(length, clip_model=self.clip_model)
        self.ctx = nn.Parameter(ctx.to(self.clip_model.dtype))
        self.layout = worded_layout(self, self.settings.N_CLUSTERS + length, readable(words))

    def fit(self, features: FewShotFeatures) -> None:
        """Find the clusters, by k-means over `anchors`; where there are no more classes than clusters, each is one."""
        points, count, seed = self.anchors(), len(self.clusters), int(torch.randint(2**31, ()))
        if len(points) > count:
            points = F.normalize(k_means(points, count, seed), dim=-1)
        self.clusters.data = points[torch.arange(count) % len(points)].to(self.clusters)

    def context(self) -> Tensor:
        return torch.cat([self.to_text(self.clusters), self.ctx])

    def text_parts(self) -> TowerParts:
        clusters = self.to_text(self.clusters)
        return TowerParts(rows=before_blocks(torch.cat([clusters, rows]) for rows in self.text_prompts))

    def image_parts(self) -> TowerParts:
        clusters = self.to_image(self.clusters)
        parts = beside_patches(torch.cat([clusters, rows]) for rows in self.visual_prompts)
        return replace(parts, hidden=len(clusters))

    def transform_image(self, features: Tensor) -> Tensor:
        return F.dropout(features, self.settings.DROPOUT, self.training)

    def _mean_features(self) -> Tensor:
        """CLIP's text features (C, D): the mean over a class's sentences of features as they are, then normalised."""
        sentences = sentences_for(self)
        features = sentence_features(self.text_encoder, cycled(sentences), normalised=False)  # (S, C, D)
        counts = torch.tensor([len(each) for each in sentences], device=features.device)
        own = torch.arange(len(features), device=features.device)[:, None] < counts  # (S, C)
        return F.normalize((features * own.unsqueeze(-1)).sum(0) / counts.unsqueeze(-1), dim=-1)

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Of images (B, 1 + V, 3, H, W), V views to learn from and the plain one; (B, 3, H, W) are both."""
        views, plain = (image[:, :-1], image[:, -1]) if image.dim() == 5 else (image.unsqueeze(1), image)
        count, settings = views.shape[1], self.settings
        text, own = self.class_features(), self.image_features(views.flatten(0, 1))
        frozen = F.normalize(self.transform_image(self.raw_image_features(plain)), dim=-1)
        logits, label = self.logit_scale * own @ text.t(), label.repeat_interleave(count)
        parts = {
            "loss_ce": F.cross_entropy(logits, label),
            "loss_text": settings.TEXT_LOSS_WEIGHT * F.l1_loss(text, self.anchors().to(text.dtype)),
            "loss_image": settings.IMAGE_LOSS_WEIGHT * F.l1_loss(own, frozen.to(own.dtype).repeat_interleave(count, 0)),
        }
        return {"loss": sum(parts.values()), "acc": batch_accuracy(logits, label), **parts}

    def share(self, epoch: int, epochs: int) -> float:
        return 1 / epochs

    @property
    def knowledge(self) -> list[str]:
        return ["sentences for each class" if self.settings.SENTENCES else "template of the dataset"]

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP."""
        layers = {
            f"VPT_topk_{kind}.{part}": f"{ours}.{part}"
            for kind, ours in (("t", "to_text"), ("v", "to_image"))
            for part in ("weight", "bias")
        }
        return renamed(state, {"prompt_learner.ctx": "ctx", "topk": "clusters", **layers, **released_rows(state)})


def k_means(points: Tensor, count: int, seed: int) -> Tensor:
    """The centres (count, D) in fp64 of so many clusters of points (N, D), on the CPU."""
    with drawing_nothing():
        from sklearn.cluster import KMeans  # slow to import

    found = KMeans(count, n_init=10, random_state=seed).fit(points.double().cpu().numpy())
    return torch.from_numpy(found.cluster_centers_)
