"""Top-k accuracy."""


def compute_accuracy(output, target, topk=(1,)):
    """Accuracy in per cent for each k of `topk`: a list of tensors of shape (1,).

    `output` (N, C) holds scores, or is a tuple whose first entry does; `target` (N,) holds labels.
    """
    if isinstance(output, (tuple, list)):
        output = output[0]
    ranked = output.topk(max(topk), dim=1).indices  # (N, K)
    hits = ranked.eq(target.view(-1, 1))
    return [100.0 * hits[:, :k].any(dim=1).float().mean().reshape(1) for k in topk]
