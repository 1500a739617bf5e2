"""A command line of train.py, carried out: the config it means, the run's folder and log, training and testing."""

import argparse
import difflib
import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import torch
from PIL import UnidentifiedImageError
from yacs.config import CfgNode

from mocoop import timings
from mocoop.config import limit_problems, merge_file, merge_overrides
from mocoop.console import kept_console, logged
from mocoop.distributed import check_ranks, first_failure, from_main, is_main, ranks
from mocoop.engine import BACKEND, DATASET_REGISTRY, TRAINER_REGISTRY, build_trainer, get_cfg_default
from mocoop.errors import ConfigError, DataError
from mocoop.methods import extend_cfg, load_plugin
from mocoop.training.interruptions import Stopped, explain, stop_requests
from mocoop.training.run_folder import hold, writable_folder
from mocoop.training.run_state import set_random_seed
from mocoop.training.trainer import PromptTrainer, register_trainers
from mocoop.versions import collect_env_info


class PrintHandler(logging.Handler):
    """Log lines go to standard output, and so into the run's log.txt."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record))


def print_log_lines() -> None:
    package = logging.getLogger("mocoop")
    package.setLevel(logging.INFO)
    if not any(isinstance(handler, PrintHandler) for handler in package.handlers):
        package.addHandler(PrintHandler())


def setup_cfg(args: argparse.Namespace) -> CfgNode:
    """The frozen config: defaults, dataset yaml, method yaml, flags, overrides. Raises ConfigError."""
    _check_flags(args)
    for path in args.plugin:
        load_plugin(path)
    register_trainers()
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.DATALOADER.NUM_WORKERS = -1  # chosen from the cores, unless it is given
    for path in (args.dataset_config_file, args.config_file):
        if path:
            merge_file(cfg, path)
    _apply_flags(cfg, args)
    merge_overrides(cfg, args.opts)
    _check_registered("--trainer", cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names())
    _check_registered("DATASET.NAME", cfg.DATASET.NAME, DATASET_REGISTRY.registered_names())
    if problems := limit_problems(cfg):
        raise ConfigError("; ".join(problems))
    check_ranks(cfg.SEED, cfg.USE_CUDA)
    cfg.freeze()
    return cfg


def _check_flags(args: argparse.Namespace) -> None:
    """Raises ConfigError for a flag that would have no effect beside the others."""
    if args.eval_only:
        if args.resume:
            raise ConfigError("got --resume with --eval-only, which trains nothing; --model-dir names what to evaluate")
        return
    for flag, given in {"--model-dir": bool(args.model_dir), "--load-epoch": args.load_epoch is not None}.items():
        if given:
            raise ConfigError(
                f"got {flag} without --eval-only; add --eval-only to evaluate a model, or train from its weights with "
                "--resume FOLDER or MODEL.INIT_WEIGHTS FILE"
            )


def _apply_flags(cfg: CfgNode, args: argparse.Namespace) -> None:
    flags = {
        "DATASET.ROOT": args.root,
        "OUTPUT_DIR": args.output_dir,
        "RESUME": args.resume,
        "DATASET.SOURCE_DOMAINS": args.source_domains,
        "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms,
        "TRAINER.NAME": args.trainer,
        "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head,
    }
    given = [item for key, value in flags.items() if value for item in (key, repr(value))]
    if args.seed >= 0:
        given += ["SEED", repr(args.seed)]
    merge_overrides(cfg, given)


def _check_registered(flag: str, name: str, known: list[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(sorted(known))}"
        raise ConfigError(f"{flag} is {name!r}, {hint}" if name else f"{flag} is missing, {hint}")


def print_config(args: argparse.Namespace, cfg: CfgNode) -> None:
    print("***************\n** Arguments **\n***************")
    for key, value in sorted(vars(args).items()):
        print(f"{key}: {value}")
    print(f"************\n** Config **\n************\n{cfg}")
    print(f"Engine: {BACKEND}")
    print(f"** System info **\n{collect_env_info()}\n")


def run(args: argparse.Namespace) -> None:
    """Train and test, or evaluate, as the command line says; a run that has been done is not done again."""
    timings.begin()
    cfg = setup_cfg(args)
    if args.no_train and not args.eval_only:  # as in CoOp, an evaluation may say that it trains nothing
        with log_of(writable_folder(cfg.OUTPUT_DIR)):
            build(args, cfg)
        return
    command = {"eval_only": args.eval_only, "model_dir": args.model_dir, "load_epoch": args.load_epoch}
    with hold(cfg.OUTPUT_DIR, cfg, command) as folder:
        if from_main(folder.is_finished):
            print(f"finished already: {folder.path}")
            return
        folder.set_running()
        try:
            with log_of(cfg.OUTPUT_DIR):
                trainer = build(args, cfg)
                trainer.command = command
                if args.eval_only:
                    evaluate(trainer, args)
                else:
                    trainer.train()
            folder.set_ended()
        except BaseException as error:
            folder.set_failed(first_failure(explain(error) or f"{type(error).__name__}: {error}")[0])
            raise


def log_of(folder: str | Path) -> AbstractContextManager:
    """The log of a run, of several ranks that of the main one, which alone prints."""
    return logged(folder) if is_main() else nullcontext()


def build(args: argparse.Namespace, cfg: CfgNode) -> PromptTrainer:
    """The trainer, after the log's opening lines."""
    make_reproducible(cfg)
    print_config(args, cfg)
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
    return cast(PromptTrainer, build_trainer(cfg))


def evaluate(trainer: PromptTrainer, args: argparse.Namespace) -> None:
    """Test a trained model."""
    with stop_requests() as trainer.stop:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()


def make_reproducible(cfg: CfgNode) -> None:
    """Seed all generators; on CUDA choose between the fastest and the repeatable algorithms (TRAIN.DETERMINISTIC)."""
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    deterministic = cfg.TRAIN.DETERMINISTIC
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = torch.cuda.is_available() and cfg.USE_CUDA and not deterministic


def execute(args: argparse.Namespace) -> int:
    """Exit status: 0; 2 after one line on stderr that says what was wrong; 128 + signal where one stopped the run.

    Of several ranks the first that fails says why.
    """
    print_log_lines()
    with kept_console(), ranks():
        try:
            run(args)
        except Stopped as error:
            return _ended(error, 128 + error.signal)
        except KeyboardInterrupt:
            return _ended("interrupted; run the same command to resume from the last saved state", 130)
        except UnidentifiedImageError as error:
            return _ended(f"error: {DataError(error)}", 2)
        except Exception as error:
            reason = explain(error)
            if reason is not None:
                return _ended(f"error: {reason}", 2)
            if first_failure(f"{type(error).__name__}: {error}")[1]:
                raise
            return 2
    return 0


def _ended(message: object, status: int) -> int:
    if first_failure(str(message))[1]:
        print(message, file=sys.stderr)
    return status
