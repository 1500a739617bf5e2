"""CoCoOp, conditional context optimisation (arXiv 2203.05557): a context shifted by each image's feature."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.methods.base import PromptMethod
from mocoop.methods.coop import coop_layout, start_context, without_class_embeddings
from mocoop.methods.keys import Key, common_keys
from mocoop.registry import register_method

KEYS = (
    Key("N_CTX", 16, "number of context vectors, if CTX_INIT is empty", at_least=1, at_most=75, structural=True),
    Key("CTX_INIT", "", "words that the context starts from; their tokens give its length", structural=True),
    *common_keys(prec="fp16"),
)


@register_method("CoCoOp", node="COCOOP", keys=KEYS, published="2022-03", title="conditional context optimisation",
                 export="conditional")  # fmt: skip
class CoCoOp(PromptMethod):
    """Learns `ctx` (n, width) and `meta_net`, which maps an image feature to a shift of all context vectors.

    The meta-net is two linear layers with a ReLU, its hidden width a sixteenth of the feature's (paper, section 3.2).
    """

    own_names = staticmethod(without_class_embeddings)

    def setup(self) -> None:
        self.ctx = start_context(self.settings, self.clip_model)
        features, width = self.clip_model.embed_dim, self.ctx.shape[1]
        layers = OrderedDict(
            linear1=nn.Linear(features, features // 16),
            relu=nn.ReLU(inplace=True),
            linear2=nn.Linear(features // 16, width),
        )
        self.meta_net = nn.Sequential(layers).to(self.clip_model.dtype)
        self.layout = coop_layout(self.classnames, len(self.ctx), "end", tokenizer=self.clip_model.tokenizer)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        shift = self.meta_net(image_features).unsqueeze(1)  # (B, 1, width)
        contexts = (self.ctx + shift).unbind(0)  # B of (n, width)
        text_features = self.text_encoder(contexts, [self.layout] * len(contexts))  # (B, C, D)
        scores = torch.einsum("bd,bcd->bc", image_features, F.normalize(text_features, dim=-1))
        return {"logits": self.logit_scale * scores + self.logit_bias}
