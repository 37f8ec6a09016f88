"""``python -m training COMMAND``: the offline tools.

A command is a module with ``add_arguments(parser)`` and ``run(args) -> int``, named in `COMMANDS`. Only the
module of the command that was asked for is imported, so ``--help`` does not wait for torch.

Exit status: 0 done, 1 tried and failed, 2 asked for something impossible. Data go to stdout, errors to
stderr.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from engines.errors import EngineError
from training.errors import TrainingError, UsageError


class Command(NamedTuple):
    """Where a command lives, and its line in ``--help``."""

    module: str
    help: str


COMMANDS = {
    "synthesise": Command("training.synthesise", "make the training material of the bundled model"),
    "distort": Command("training.distort", "put one distortion on one clip"),
    "sheets": Command("training.sheets", "draw what each distortion does at each level"),
    "trunk": Command("training.trunk", "train the bundled model's trunk on impaired pictures"),
    "sizes": Command("training.trunk_sizes", "what the trunk's width and number of patches cost and are worth"),
    "head": Command("training.base_head", "train the bundled model's head on impaired clips"),
    "bundle": Command("training.base_bundle", "make a bundle of a trained trunk and head"),
    "calibrate": Command("training.calibrate", "fit your own ratings into a new bundle"),
    "rated": Command("training.rated_set", "how a bundle agrees with a rated set, as it is and with its scale fitted"),
    "ablations": Command("training.ablations", "what each part of the bundled model is worth"),
    "report": Command("training.bundle_report", "what a bundle shows on held-out material"),
    "quantise": Command("training.quantise", "try an int8 graph for a bundle, ship it where it passes"),
    "standin": Command("training.standin", "make a stand-in for a rated data set of clean clips"),
    "features": Command("training.features", "extract and cache frame features of a data set"),
    "train": Command("training.train", "train heads of the study on cached features"),
    "evaluate": Command("training.evaluate", "score finished runs on cached features"),
    "study": Command("training.study", "all tables of the study in one command, resumable"),
    "export": Command("training.export_run", "make a bundle of a finished run and its trunk"),
    "chipqa": Command("training.chipqa_baseline", "the ChipQA baseline on a data set"),
    "score-features": Command("training.score_features", "score one clip's cached features with a head"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; default: the process's.

    Returns:
        Exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m training", description="Offline tools of vqwatch.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    try:
        for name, command in COMMANDS.items():
            of_command = commands.add_parser(name, help=command.help, description=command.help)
            if arguments[:1] == [name]:
                modules[name] = importlib.import_module(command.module)
                modules[name].add_arguments(of_command)
        args = parser.parse_args(arguments)
        return int(modules[args.command].run(args))
    except UsageError as error:
        return _fail(error, 2)
    except (TrainingError, EngineError, OSError) as error:
        return _fail(error, 1)
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed: pip install 'vqwatch[train]'", 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(message: object, status: int) -> int:
    print(f"python -m training: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
