"""``vqwatch``: the command line. Data on stdout, logs on stderr; exit status 0, 1 (ran and failed), 2 (usage)."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol

from engines.errors import EngineError
from monitor.errors import MonitorError, UsageError

#: Command -> (module, help). Modules are imported when their command runs, so that --help stays quick.
COMMANDS = {
    "demo": ("monitor.commands.demo", "see it work: test feeds go bad, alerts come and clear"),
    "run": ("monitor.commands.run", "monitor live feeds"),
    "score": ("monitor.commands.score", "score recordings, faster than real time"),
    "probe": ("monitor.commands.probe", "what is this feed, does it decode, one score"),
    "check": ("monitor.commands.check", "validate a configuration file"),
    "config": ("monitor.commands.config", "print the JSON Schema of the configuration, for editors"),
    "simulate": ("monitor.commands.simulate", "replay recorded scores through alert rules"),
    "history": ("monitor.commands.history", "export what was recorded"),
    "bench": ("monitor.commands.bench", "how many streams this machine holds"),
    "engine": ("monitor.commands.engine", "what can compute here; build a TensorRT plan ahead of time"),
    "model": ("monitor.commands.model", "list the models that are installed"),
}


class Command(Protocol):
    """What a command module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Runs it; the exit status."""
        ...


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; the exit status."""
    # Set before numpy loads its BLAS: the heads' products are tiny, and threads of their own would only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _Parser(prog="vqwatch", description="No-reference video quality monitor for live feeds.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    chosen = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    # Only the chosen command's module is loaded for its arguments.
    name = next((a for a in arguments if not a.startswith("-")), None)
    module: Command | None = None
    for command, (path, text) in COMMANDS.items():
        sub = chosen.add_parser(command, help=text, description=text[0].upper() + text[1:] + ".")
        if command == name:
            module = importlib.import_module(path)
            module.add_arguments(sub)
    try:
        args = parser.parse_args(arguments)
        if args.version:
            from importlib.metadata import version

            print(version("vqwatch"))
            return 0
        if module is None:
            parser.print_help()
            return 2
        return module.run(args)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 2
    except UsageError as error:
        _complain(error)
        return 2
    except (MonitorError, EngineError) as error:
        _complain(error)
        return 1
    except BrokenPipeError:
        # Whoever read stdout has gone; leave without a word, and keep the interpreter from flushing into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _complain(error: Exception) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        print(f"vqwatch: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
