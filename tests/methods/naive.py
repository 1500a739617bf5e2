"""What the papers' codes compute, class by class and image by image, through CLIP's own blocks. Slow and plain."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.openai import EOT_TOKEN, SOT_TOKEN, tokenizer
from mocoop.clip.templates import template_bank


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def embedded(clip, text: str) -> Tensor:
    """Embeddings (n, W) of a text's tokens."""
    return clip.token_embedding.weight[torch.tensor(tokenizer.encode(text), dtype=torch.long)]


def text_feature(clip, middle: Tensor, deep=None, beside=None, new=None) -> Tensor:
    """The feature (D,) of [SOT] middle [EOT]; `deep`: {block: rows that take the place of those behind SOT}.

    beside: {block: what is added to its output, a function of ln_1's}. new: {block: what makes rows}, of `new_rows`.
    """
    ends = clip.token_embedding.weight[torch.tensor([SOT_TOKEN, EOT_TOKEN])]
    x = torch.cat([ends[:1], middle, ends[1:]])
    x = x + clip.positional_embedding[: len(x)]
    for i, block in enumerate(clip.transformer.resblocks):
        if deep and i in deep:
            x = torch.cat([x[:1], deep[i], x[1 + len(deep[i]) :]])
        x = new_rows(x, i, new or {})
        x = _block(block, x, block.attn_mask[: len(x), : len(x)].to(x.dtype), (beside or {}).get(i))
    return clip.ln_final(x)[-1] @ clip.text_projection


def image_feature(clip, image: Tensor, rows=(), norms=None, beside=None, hidden=0) -> Tensor:
    """The feature (D,) of an image (3, H, W); `rows`: those beside its patches, for blocks 0, 1, ...

    norms: {name of a LayerNorm's parameter: value} in place of CLIP's own. beside: as of a text. hidden: how many
    of the rows the patches do not attend to.
    """
    visual = clip.visual
    if norms:
        return torch.func.functional_call(visual, dict(norms), (image[None],))[0]
    patches = visual.conv1(image[None]).flatten(2)[0].t()
    x = torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding
    count = len(x) + (len(rows[0]) if len(rows) else 0)
    mask = x.new_zeros(count, count)
    mask[1 : len(x), len(x) : len(x) + hidden] = float("-inf")
    for i, block in enumerate(visual.transformer.resblocks):
        if i == 0:
            x = visual.ln_pre(torch.cat([x, rows[0]]) if len(rows) else x)
        elif i < len(rows):
            x = torch.cat([x[: -len(rows[i])], rows[i]])
        x = _block(block, x, mask if hidden else None, (beside or {}).get(i))
    return visual.ln_post(x[0]) @ visual.proj


def new_rows(x: Tensor, block: int, made: dict) -> Tensor:
    """x with rows behind the first one: put in before the first of the blocks in `made`, taken over by the others' own.

    made: {block: function of the rows that are there, None before the first}.
    """
    if block not in made:
        return x
    if block == min(made):
        return torch.cat([x[:1], made[block](None), x[1:]])
    count = len(made[min(made)](None))
    return torch.cat([x[:1], made[block](x[1 : 1 + count]), x[1 + count :]])


def last_rows(clip, image: Tensor, made: dict) -> Tensor:
    """Last states (1 + patches + n, W) of an image with `new_rows`, after ln_post."""
    visual = clip.visual
    patches = visual.conv1(image[None]).flatten(2)[0].t()
    x = visual.ln_pre(torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding)
    for i, block in enumerate(visual.transformer.resblocks):
        x = _block(block, new_rows(x, i, made), None)
    return visual.ln_post(x)


def _block(block, x: Tensor, mask, beside=None) -> Tensor:
    y = block.ln_1(x)[:, None]
    x = x + block.attn(y, y, y, need_weights=False, attn_mask=mask)[0][:, 0]
    x = x + block.mlp(block.ln_2(x))
    return x + beside(y[:, 0]) if beside else x


def with_weights(clip, weights: dict, compute):
    """What `compute` gives for a CLIP in which some parameters have other values."""

    class Computed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.clip = clip

        def forward(self):
            return compute(self.clip)

    return torch.func.functional_call(Computed(), {f"clip.{name}": value for name, value in weights.items()}, ())


def hard_feature(clip, text: str) -> Tensor:
    return text_feature(clip, embedded(clip, text))


def image_features(clip, images, rows=(), norms=None) -> Tensor:
    return torch.stack([unit(image_feature(clip, image, rows, norms)) for image in images])


def prompted(method, names, rest: str = "", deep=None) -> Tensor:
    """Normalised features of [ctx] rest name. for each name."""
    clip = method.clip_model
    texts = [f"{rest} {name}.".strip() for name in names]
    return torch.stack([unit(text_feature(clip, torch.cat([method.ctx, embedded(clip, t)]), deep)) for t in texts])


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return -torch.stack([torch.log_softmax(row, -1)[y] for row, y in zip(logits, label)]).mean()


# --- the methods, on OxfordPets ---------------------------------------------------------------------------------------


def coop(method, image, label, names, more):
    clip = method.clip_model
    logits = clip.logit_scale.exp() * image_features(clip, image) @ prompted(method, names).t()
    return {"loss": cross_entropy(logits, label)}


def atprompt(method, image, label, names, more):
    """[a a] playful [a a] energy level [ctx ctx ctx] name."""
    clip, (first, second, ctx) = method.clip_model, method.ctx.split([2, 2, 3])
    words = [embedded(clip, "playful"), embedded(clip, "energy level")]
    each = [torch.cat([first, words[0], second, words[1], ctx, embedded(clip, f"{name}.")]) for name in names]
    text = torch.stack([unit(text_feature(clip, middle)) for middle in each])
    return {"loss": cross_entropy(clip.logit_scale.exp() * image_features(clip, image) @ text.t(), label)}


def kgcoop(method, image, label, names, more):
    clip, text = method.clip_model, prompted(method, names)
    anchors = torch.stack([unit(hard_feature(clip, f"a photo of a {name}, a type of pet.")) for name in names])
    ce = cross_entropy(clip.logit_scale.exp() * image_features(clip, image) @ text.t(), label)
    kg = 1 - torch.stack([a @ b for a, b in zip(text, anchors)]).mean()
    return {"loss": ce + 8 * kg, "loss_ce": ce, "loss_kg": kg}


def prograd(method, image, label, names, more):
    clip = method.clip_model
    features, scale = image_features(clip, image), clip.logit_scale.exp()
    logits = scale * features @ prompted(method, names, rest="a").t()  # of "a type of pet, a photo of a", "a" is fixed
    taught = torch.stack([unit(hard_feature(clip, f"a type of pet, a photo of a {name}.")) for name in names])
    p = torch.softmax(scale * features @ taught.t(), -1)
    kl = torch.stack([-(q * torch.log_softmax(row, -1)).sum() for q, row in zip(p, logits)]).mean()
    return {"loss": cross_entropy(logits, label), "loss_kl": kl}


def lasp(method, image, label, names, more):
    clip, scale = method.clip_model, method.clip_model.logit_scale.exp()
    norms = {name.replace("/", "."): value for name, value in method.layer_norms.named_parameters()}
    soft = [text_feature(clip, torch.cat([method.ctx, embedded(clip, f"{name}.")])) for name in [*names, *more]]
    soft = unit(torch.stack(soft) + method.correction)
    ce = cross_entropy(scale * image_features(clip, image, norms=norms) @ soft[: len(names)].t(), label)
    terms = []
    for template in template_bank("LASP"):
        for j, name in enumerate([*names, *more]):
            hard = unit(hard_feature(clip, template.format(name)))
            terms.append(-torch.log_softmax(scale * soft @ hard, -1)[j])
    text = torch.stack(terms).mean()
    return {"loss": ce + 5 * text, "loss_ce": ce, "loss_text": text}


def tcp(method, image, label, names, more, texts=None):
    clip, net = method.clip_model, method.meta_net
    text, kg = [], []
    for name in names:
        anchor = unit(hard_feature(clip, f"a photo of a {name}, a type of pet."))
        hidden = net.linear1.weight @ anchor + net.linear1.bias
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        rows = (net.linear2.weight @ hidden + net.linear2.bias).view(method.ctx.shape)
        middle = torch.cat([method.ctx, embedded(clip, f"{name}, a type of pet.")])
        feature = text_feature(clip, middle, {method.settings.BLOCK: rows})
        if texts is not None:
            texts.append(feature)
        text.append(unit(feature))
        kg.append(text[-1] @ anchor)
    ce = cross_entropy(clip.logit_scale.exp() * image_features(clip, image) @ torch.stack(text).t(), label)
    kg = 1 - torch.stack(kg).mean()
    return {"loss": ce + 8 * kg, "loss_ce": ce, "loss_kg": kg}


def dekg(method, image, label, names, more):
    """Of normalised features."""
    parts = kgcoop(method, image, label, names, more)
    return with_dependence(parts, prompted(method, names), method.clip_model, names)


def dekg_tcp(method, image, label, names, more):
    """Of features as the text tower gives them."""
    texts = []
    parts = tcp(method, image, label, names, more, texts)
    return with_dependence(parts, torch.stack(texts), method.clip_model, names)


def with_dependence(parts, learned, clip, names):
    hard = torch.stack([unit(hard_feature(clip, f"a photo of a {name}, a type of pet.")) for name in names])
    t, w = learned / learned.square().sum().sqrt(), hard / hard.square().sum().sqrt()
    centre = torch.eye(len(names), dtype=t.dtype) - 1 / len(names)
    hsic = torch.trace(centre @ t @ t.t() @ centre @ w @ w.t())
    return parts | {"loss": parts["loss"] + 6 * hsic, "loss_hsic": hsic}


def ivlp(method, image, label, names, more):
    clip, deep = method.clip_model, dict(enumerate(method.text_prompts, 1))
    text = prompted(method, names, "of a", deep)
    features = image_features(clip, image, list(method.visual_prompts))
    return {"loss": cross_entropy(clip.logit_scale.exp() * features @ text.t(), label)}


def vpt(method, image, label, names, more):
    clip = method.clip_model
    text = torch.stack([unit(hard_feature(clip, f"a photo of a {name}.")) for name in names])
    features = image_features(clip, image, list(method.visual_prompts))
    return {"loss": cross_entropy(clip.logit_scale.exp() * features @ text.t(), label)}


def maple(method, image, label, names, more):
    clip, deep = method.clip_model, dict(enumerate(method.compound_prompts_text, 1))
    layers = [method.proj, *method.compound_prompt_projections]
    sources = [method.ctx, *method.compound_prompts_text]
    rows = [source @ layer.weight.t() + layer.bias for layer, source in zip(layers, sources)]
    features = image_features(clip, image, rows)
    text = prompted(method, names, "of a", deep)
    return {"loss": cross_entropy(clip.logit_scale.exp() * features @ text.t(), label)}


def promptsrc(method, image, label, names, more):
    clip, deep, scale = method.clip_model, dict(enumerate(method.text_prompts, 1)), method.clip_model.logit_scale.exp()
    text = prompted(method, names, "", deep)
    own, frozen = image_features(clip, image, list(method.visual_prompts)), image_features(clip, image)
    means = [sum(hard_feature(clip, t.format(name)) for t in template_bank("PromptSRC")) / 60 for name in names]
    anchors = unit(torch.stack(means))
    logits, frozen_logits = scale * own @ text.t(), scale * frozen @ anchors.t()
    p0, logp0, logp = F.softmax(frozen_logits, 1), F.log_softmax(frozen_logits, 1), F.log_softmax(logits, 1)
    parts = {
        "loss_ce": cross_entropy(logits, label),
        "loss_text": 25 * (text - anchors).abs().mean(),
        "loss_image": 10 * (own - frozen).abs().mean(),
        "loss_logits": (p0 * (logp0 - logp)).sum() / (len(image) * len(names)),
    }
    return {"loss": sum(parts.values()), **parts}


def photos_of(clip, image, label, names):
    """The loss of CLIP itself with "a photo of a name."."""
    text = torch.stack([unit(hard_feature(clip, f"a photo of a {name}.")) for name in names])
    return cross_entropy(clip.logit_scale.exp() * image_features(clip, image) @ text.t(), label)


def clip_lora(method, image, label, names, more):
    clip, merged = method.clip_model, {}
    for tower, updates in (("", method.text_lora), ("visual.", method.image_lora)):
        for i, update in enumerate(updates):
            name = f"{tower}transformer.resblocks.{i}.attn.in_proj_weight"
            q, k, v = clip.get_parameter(name).chunk(3)
            own = [w + (b @ a) / 2**0.5 for w, a, b in zip((q, k, v), update.a, update.b)]
            merged[name] = torch.cat(own)
    return {"loss": with_weights(clip, merged, lambda clip: photos_of(clip, image, label, names))}


def two_sfs(method, image, label, names, more):
    """Of the first stage, or of the second, in which features of text and images are fixed."""
    clip, norms = method.clip_model, {}
    for tower, own in (("transformer.", method.text_norms), ("visual.", method.image_norms)):
        norms |= {tower + name.replace("/", "."): value for name, value in own.named_parameters()}
    if method.stage == 0:
        return {"loss": with_weights(clip, norms, lambda clip: photos_of(clip, image, label, names))}
    features = with_weights(clip, norms, lambda clip: image_features(clip, image)).detach()
    return {"loss": cross_entropy(clip.logit_scale.exp() * features @ unit(method.head).t(), label)}


def mma(method, image, label, names, more):
    clip, scale = method.clip_model, 1e-3

    def adapter(own, shared):
        def beside(y):
            y = scale * y + (1 - scale) * y.detach()  # its gradient is `scale` times as large
            hidden = torch.relu(own.down[0].weight @ y.t() + own.down[0].bias[:, None])
            hidden = torch.relu(shared[0].weight @ hidden + shared[0].bias[:, None])
            z = (own.up.weight @ hidden + own.up.bias[:, None]).t()
            return z + (scale - 1) * z.detach()  # `scale` times as large, its gradient is not

        return beside

    text, visual = (
        {int(i): adapter(own, method.shared_adapter[i]) for i, own in adapters.items()}
        for adapters in (method.text_adapter, method.visual_adapter)
    )
    t = [unit(text_feature(clip, embedded(clip, f"a photo of a {name}."), beside=text)) for name in names]
    f = torch.stack([unit(image_feature(clip, one, beside=visual)) for one in image])
    return {"loss": cross_entropy(clip.logit_scale.exp() * f @ torch.stack(t).t(), label)}


def mmrl(method, image, label, names, more):
    """Tokens of one space from block 1 on in both towers; the mean of the images' is scored, too."""
    clip, scale, tokens = method.clip_model, method.clip_model.logit_scale.exp(), method.compound_rep_tokens

    def made(maps):
        return {i: lambda there, m=m: tokens @ m.weight.t() + m.bias for i, m in enumerate(maps, 1)}

    text_rows, image_rows = made(method.compound_rep_tokens_r2tproj), made(method.compound_rep_tokens_r2vproj)
    return mmrl_loss(clip, scale, image, label, names, text_rows, image_rows, method.proj_rep, weight=0.5)


def mmrlpp(method, image, label, names, more):
    """MMRL's with shared weights, low-rank parts of each block's own, and tokens of which a share stays."""
    clip, scale, tokens = method.clip_model, method.clip_model.logit_scale.exp(), method.compound_rep_tokens

    def made(maps):
        def rows(own):
            new = tokens @ (maps.weight + own.A @ own.B).t() + own.bias
            return lambda there: new if there is None else 0.7 * new + 0.3 * there

        return {i: rows(own) for i, own in enumerate(maps.srra)}

    projection = clip.visual.proj + method.A @ method.B
    text_rows, image_rows = made(method.srra_r2tproj), made(method.srra_r2vproj)
    return mmrl_loss(clip, scale, image, label, names, text_rows, image_rows, projection, weight=0.5)


def mmrl_loss(clip, scale, image, label, names, text_rows, image_rows, projection, weight):
    texts = [embedded(clip, f"a photo of a {name}, a type of pet.") for name in names]
    t = torch.stack([unit(text_feature(clip, text, new=text_rows)) for text in texts])
    frozen_t = torch.stack([unit(text_feature(clip, text)) for text in texts])
    states = [last_rows(clip, one, image_rows) for one in image]
    count = len(states[0]) - len(clip.visual.positional_embedding)
    f = torch.stack([unit(x[0] @ clip.visual.proj) for x in states])
    r = torch.stack([unit(sum(x[1 : 1 + count]) / count @ projection) for x in states])
    parts = {
        "loss_ce": 0.7 * cross_entropy(scale * f @ t.t(), label),
        "loss_rep": 0.3 * cross_entropy(scale * r @ t.t(), label),
        "loss_image": weight * (1 - (f * image_features(clip, image)).sum(1).mean()),
        "loss_text": weight * (1 - (t * frozen_t).sum(1).mean()),
    }
    return {"loss": sum(parts.values()), **parts}


def dept(method, image, label, names, more):
    """Beside CoOp, KgCoOp or MaPLe: a head on features that are not normalised."""
    clip, base, weight = method.clip_model, method.base, 0.7
    rest, deep, rows = "", None, ()
    if base.entry.name == "MaPLe":
        layers = [base.proj, *base.compound_prompt_projections]
        sources = [base.ctx, *base.compound_prompts_text]
        rows = [source @ layer.weight.t() + layer.bias for layer, source in zip(layers, sources)]
        rest, deep = "of a ", dict(enumerate(base.compound_prompts_text, 1))
    text = [text_feature(clip, torch.cat([base.ctx, embedded(clip, f"{rest}{name}.")]), deep) for name in names]
    seen = [method.film_lp_text.scale * text[y] + method.film_lp_text.bias for y in label]
    seen += [method.film_lp_img.scale * image_feature(clip, i, rows) + method.film_lp_img.bias for i in image]
    head = method.linear_probe_proj
    linear = cross_entropy(torch.stack([head.weight @ x + head.bias for x in seen]), [*label, *label])
    parts = REFERENCES[base.entry.name][0](base, image, label, names, more)
    ce = parts.get("loss_ce", parts["loss"])
    total = (1 - weight) * ce + weight * linear + (2 * parts["loss_kg"] if "loss_kg" in parts else 0)
    return parts | {"loss": total, "loss_ce": ce, "loss_linear": linear}


def clip_adapter(method, image, label, names, more):
    clip = method.clip_model
    first, second = method.adapter[0].weight, method.adapter[2].weight
    text = torch.stack([unit(hard_feature(clip, f"a photo of a {name}, a type of pet.")) for name in names])
    mixed = []
    for one in image:
        feature = image_feature(clip, one)  # as the tower gives it
        adapted = (second @ (first @ feature).clamp(min=0)).clamp(min=0)
        mixed.append(unit(0.2 * adapted + 0.8 * feature))
    return {"loss": cross_entropy(clip.logit_scale.exp() * torch.stack(mixed) @ text.t(), label)}


def taskres(method, image, label, names, more):
    clip = method.clip_model
    base = [hard_feature(clip, f"a photo of a {name}, a type of pet.") for name in names]
    text = torch.stack([unit(t + 0.5 * x) for t, x in zip(base, method.text_feature_residuals)])
    return {"loss": cross_entropy(clip.logit_scale.exp() * image_features(clip, image) @ text.t(), label)}


def prolip(method, image, label, names, more):
    clip, own = method.clip_model, method.clip_model.visual.proj
    text = torch.stack([unit(hard_feature(clip, f"a photo of a {name}, a type of pet.")) for name in names])
    features = torch.stack([unit(last_rows(clip, one, {})[0] @ method.proj) for one in image])
    ce = cross_entropy(clip.logit_scale.exp() * features @ text.t(), label)
    distance = 0.25 * sum(((new - old) ** 2).sum() for new, old in zip(method.proj, own))
    return {"loss": ce + distance, "loss_ce": ce, "loss_distance": distance}


def mixture(method, image, label, names, more):
    """Two of three experts for each image; a group's first words start an expert, what does not learn of them stays."""
    clip, scale, groups = method.clip_model, method.clip_model.logit_scale.exp(), list(method.groups.values())
    prototypes = [[prototype(clip, group, name) for name in names] for group in groups]
    experts = [expert_parts(expert, group, names) for expert, group in zip(method.experts, groups)]
    logits, gate = [], []
    for one, y in zip(image, label):
        f = unit(image_feature(clip, one))
        r = method.router.weight @ f + method.router.bias
        best = r.argsort(descending=True)[:2].tolist()
        shares = torch.softmax(r[best], 0)
        own = [scale * experts[g][0] @ unit(image_feature(clip, one, experts[g][1])) for g in best]
        logits.append(sum(share * scores for share, scores in zip(shares, own)))
        near = torch.stack([f @ prototypes[g][y] for g in range(len(groups))])
        bonus = torch.tensor([10.0 * (value >= near.sort().values[-2]) for value in near.tolist()])
        gate.append(-(torch.softmax(near + bonus, 0) * torch.log_softmax(r, 0)).sum())
    told = [
        -torch.log_softmax(torch.stack([t @ p for p in own]), 0)[c]
        for (text, _), own in zip(experts, prototypes)
        for c, t in enumerate(text)
    ]
    parts = {"loss_ce": cross_entropy(torch.stack(logits), label)}
    if method.settings.METHOD == "KgCoOp":
        anchors = [unit(hard_feature(clip, f"a photo of a {name}, a type of pet.")) for name in names]
        cosines = torch.stack([torch.stack([t @ a for t, a in zip(text, anchors)]).mean() for text, _ in experts])
        parts["loss_own"] = 2 * (1 - cosines).mean()
    parts |= {"loss_text": torch.stack(told).mean(), "loss_gate": torch.stack(gate).mean()}
    total = parts["loss_ce"] + parts.get("loss_own", 0) + 5 * parts["loss_text"] + parts["loss_gate"]
    return {"loss": total, **parts}


def prototype(clip, group, name):
    return unit(torch.stack([unit(hard_feature(clip, template.format(name))) for template in group]).mean(0))


def expert_parts(expert, group, names):
    """Class features (C, D) of an expert, and its rows beside an image's patches."""
    clip, kind, words = expert.clip_model, expert.entry.name, group[0].split(" {}")[0]
    if kind == "VPT":
        text = torch.stack([unit(hard_feature(clip, f"{words} {name}.")) for name in names])
        return text, list(expert.visual_prompts)
    if kind == "MaPLe":
        layers, sources = (
            [expert.proj, *expert.compound_prompt_projections],
            [expert.ctx, *expert.compound_prompts_text],
        )
        rows = [source @ layer.weight.t() + layer.bias for layer, source in zip(layers, sources)]
        rest = " ".join(words.split()[2:])
        return prompted(expert, names, rest, dict(enumerate(expert.compound_prompts_text, 1))), rows
    return prompted(expert, names), ()


GROUPS = [
    ["a photo of a {}.", "a good photo of the {}."],
    ["a dark picture of the {} at night."],
    ["an old sketch of a {}.", "{} on paper."],
]
REFERENCES = {
    "CLIPAdapter": (clip_adapter, {}),
    "ProLIP": (prolip, {"REG_WEIGHT": 0.25}),
    "TaskRes": (taskres, {}),
    "CoOp": (coop, {"CTX_INIT": "a photo of a"}),
    "ATPrompt": (atprompt, {"ATTRIBUTES": ("playful", "energy level"), "N_CTX": 3}),
    "KgCoOp": (kgcoop, {}),
    "ProGrad": (prograd, {}),
    "LASP": (lasp, {"NOISE": 0.0}),
    "TCP": (tcp, {"BLOCK": 2}),
    "DeKg": (dekg, {}),
    "DeKgTCP": (dekg_tcp, {"BLOCK": 2}),
    "IVLP": (ivlp, {"PROMPT_DEPTH_TEXT": 3, "PROMPT_DEPTH_VISION": 2}),
    "VPT": (vpt, {"PROMPT_DEPTH_VISION": 2, "N_CTX_VISION": 3}),
    "MaPLe": (maple, {"PROMPT_DEPTH": 2}),
    "CLIPLoRA": (clip_lora, {"DROPOUT": 0.0}),
    "MMA": (mma, {"FIRST_BLOCK": 1}),
    "TwoSFS": (two_sfs, {}),
    "MMRL": (mmrl, {"FIRST_BLOCK": 1, "N_REP_TOKENS": 3, "REP_DIM": 24, "REG_WEIGHT": 0.5}),
    "MMRLpp": (mmrlpp, {"FIRST_BLOCK": 0, "REP_DIM": 24, "REG_WEIGHT": 0.5, "BETA": 0.7, "PROJ_LORA_DIM": 8}),
    "DePT on CoOp": (dept, {"BASE": "CoOp"}),
    "DePT on KgCoOp": (dept, {"BASE": "KgCoOp"}),
    "DePT on MaPLe": (dept, {"BASE": "MaPLe"}),
    "PromptSRC": (promptsrc, {"PROMPT_DEPTH_TEXT": 2, "PROMPT_DEPTH_VISION": 2}),
    "Mixture on CoOp": (mixture, {"METHOD": "CoOp", "GROUPS": GROUPS}),
    "Mixture on KgCoOp": (mixture, {"METHOD": "KgCoOp", "GROUPS": GROUPS}),
    "Mixture on VPT": (mixture, {"METHOD": "VPT", "GROUPS": GROUPS}),
    "Mixture on MaPLe": (mixture, {"METHOD": "MaPLe", "GROUPS": GROUPS}),
}
