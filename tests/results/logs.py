"""Hand-made logs as CoOp's train.py and Dassl write them."""

ENVIRONMENT = (
    "Collecting env info ...\n** System info **\nPyTorch version: 1.7.1\nOS: Ubuntu\n\nLoading trainer: CoOp\n"
)
TRAINING = "epoch [1/2] batch [5/5] time 0.1 (0.2) loss 1.2000 (1.3000)\nepoch [2/2] batch [5/5] loss 1.1 (1.2)\n"
FINISHED = "Finish training\nDeploy the last-epoch model\n"


def config_text(method="CoOp", shots=16, seed=1, classes="all", backbone="ViT-B/16", dataset="OxfordPets"):
    """What train.py prints of its arguments and configuration."""
    return (
        "***************\n** Arguments **\n***************\nbackbone: \nseed: 1\n"
        "************\n** Config **\n************\n"
        f"DATASET:\n  NAME: {dataset}\n  NUM_SHOTS: {shots}\n  ROOT: \n  SOURCE_DOMAINS: ()\n"
        f"  SUBSAMPLE_CLASSES: {classes}\n"
        f"MODEL:\n  BACKBONE:\n    NAME: {backbone}\n    PRETRAINED: True\n  HEAD:\n    NAME: \nSEED: {seed}\n"
        f"TRAINER:\n  CDAC:\n    CLASS_LR_MULTI: 10\n  NAME: {method}\n{ENVIRONMENT}"
    )


def result_text(correct=3201, total=3669, split="test"):
    accuracy = 100 * correct / total
    return (
        f"Evaluate on the *{split}* set\n=> result\n* total: {total:,}\n* correct: {correct:,}\n"
        f"* accuracy: {accuracy:.1f}%\n* error: {100 - accuracy:.1f}%\n* macro_f1: {accuracy - 1:.1f}%\n"
    )


def log_text(correct=3201, total=3669, training=True, **config):
    """The log of a finished run."""
    return config_text(**config) + (TRAINING + FINISHED if training else "") + result_text(correct, total)


def add_log(root, path, text=None, name="log.txt", **log):
    """Writes a log below `root`; returns its folder."""
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(log_text(**log) if text is None else text)
    return folder
