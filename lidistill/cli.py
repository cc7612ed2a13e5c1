# SPDX-License-Identifier: Apache-2.0
"""The ``lidistill`` command: one table of verbs, each a module that is imported only when used.

A verb's module has ``HELP: str``, ``add_arguments(parser)`` and ``run(args) -> int``. Errors that a
user can mend (missing or broken files, wrong values, packages that are not installed) are printed
as one message; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lidistill import __version__
from lidistill.homes import settle
from lidistill.interrupts import end_children, exit_code, leave, orderly_end

VERBS = {
    "doctor": "lidistill.doctor",
    "world": "lidistill.world.cli",
    "create_data": "lidistill.converters.cli",
    "superpixels": "lidistill.converters.superpixels.cli",
    "object_bank": "lidistill.converters.object_bank.cli",
    "object_database": "lidistill.engine.offline.object_database",
    "pairs": "lidistill.visualization.cameras.pairs_cli",
    "teacher_regions": "lidistill.engine.offline.teacher_regions",
    "cache_teacher": "lidistill.engine.offline.cache_teacher",
    "depth_maps": "lidistill.engine.offline.depth_maps",
    "train": "lidistill.engine.train",
    "test": "lidistill.engine.test",
    "eval": "lidistill.engine.scoring.cli",
    "import_weights": "lidistill.export.import_cli",
    "export": "lidistill.export.cli",
    "config": "lidistill.engine.configs.cli",
    "show_config": "lidistill.engine.configs.show",
    "dry_run": "lidistill.engine.dry_run",
    "demo": "lidistill.demo",
    "report": "lidistill.engine.reporting.cli",
    "view": "lidistill.visualization.objects.cli",
    "bench": "lidistill.bench.run",
    "completion": "lidistill.completion",
    "evidence": "lidistill.evidence.cli",
}

# What an interrupted verb leaves, for the same command to go on from; {names} are its options.
KEPT = {
    "world": "finished scenes are kept in {out}",
    "create_data": "finished parts are kept beside the info files",
    "superpixels": "finished images are kept in {out}",
    "object_bank": "finished scenes are kept in {out}",
    "object_database": "finished frames are kept beside {out}",
    "teacher_regions": "finished images are kept in {out}",
    "cache_teacher": "finished maps are kept in the cache",
    "depth_maps": "finished maps are kept in {out}",
    "train": "the last checkpoint is kept in the work dir",
    "demo": "finished stages and the last checkpoint are kept",
    "evidence": "finished rows are kept",
}

# What a user can mend. RuntimeError and the like are faults of the program: they keep a traceback.
USER_ERRORS = (ValueError, OSError, ImportError)
INTERRUPTED = 128  # exit codes above: a signal's number more


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not that a switch is off or that there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []):
            return action.help
        return super()._get_help_string(action)


def help_line(verb: str) -> str:
    """The verb's ``HELP``, read from its source: importing every verb would cost seconds.

    Args:
        verb: A key of ``VERBS``.

    Returns:
        The line, or a note that this verb is not in this installation.
    """
    path = _module_path(VERBS[verb])
    if path is None:
        return "(not in this installation)"
    found = re.search(r"^HELP(?:: str)? = (\(.*?^\)|.*?$)", path.read_text("utf-8"), re.M | re.S)
    return str(ast.literal_eval(found[1])) if found else ""


def _module_path(module: str) -> Path | None:
    """Where a module of this package lies; looking it up would import the packages above it."""
    path = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {help_line(verb)}" for verb in VERBS]
    return "verbs:\n" + "\n".join(lines) + "\n\n`lidistill VERB --help` tells more."


def build_parser() -> argparse.ArgumentParser:
    """Parser of everything that stands before the verb's own arguments."""
    parser = argparse.ArgumentParser(
        prog="lidistill",
        description="Teach 3D perception models with other models.",
        usage="lidistill [--version] [--debug] VERB [arguments]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lidistill {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("verb", nargs="?", metavar="VERB", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def build_verb_parser(verb: str) -> argparse.ArgumentParser:
    """The complete parser of one verb; imports its module.

    Args:
        verb: A key of ``VERBS``.

    Returns:
        The parser; ``run`` is set as a default.

    Raises:
        ValueError: for an unknown verb, with the nearest known ones.
        ImportError: where the verb's module is not in this installation.
    """
    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, n=2) or list(VERBS)
        msg = f"expected a verb, got {verb!r}; did you mean {' or '.join(near)}?"
        raise ValueError(f"{msg} `lidistill --help` lists all.")
    if _module_path(VERBS[verb]) is None:
        raise ImportError(
            f"`lidistill {verb}` is not available: lidistill {__version__} as installed here has "
            f"no module {VERBS[verb]}; update it with `git pull && make setup`, or with pip"
        )
    module = importlib.import_module(VERBS[verb])
    parser = argparse.ArgumentParser(
        prog=f"lidistill {verb}",
        description=module.HELP,
        formatter_class=HelpFormatter,
    )
    module.add_arguments(parser)
    _format_commands(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=module.run)
    return parser


def _format_commands(parser: argparse.ArgumentParser) -> None:
    """A verb's own sub-commands show their help as verbs do."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                command.formatter_class = HelpFormatter


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: Words after ``lidistill``; those of the process if None.

    Returns:
        Exit code: what the verb returned, 1 after an error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if not words or words[0] in ("-h", "--help"):  # the overview reads sources: only when asked
        parser.epilog = _overview()
        parser.print_help()
        return 0
    options = parser.parse_args(words)
    if options.verb is None:
        parser.error("expected a verb; `lidistill --help` lists them")
    settle()
    with orderly_end():
        return _run_verb(options, words)


def _run_verb(options: argparse.Namespace, words: Sequence[str]) -> int:
    args = argparse.Namespace(debug=bool(options.debug))
    try:
        build_verb_parser(options.verb).parse_args(options.arguments, namespace=args)
        return int(args.run(args) or 0)
    except KeyboardInterrupt as interrupt:
        end_children()
        kept = getattr(interrupt, "kept", None) or KEPT.get(options.verb)
        _complain("interrupted", _how_to_go_on(kept, args, words))
        return exit_code(interrupt)
    except BrokenPipeError:  # `lidistill ... | head`
        sys.stderr.close()
        return 1
    except USER_ERRORS as error:
        if args.debug:
            raise
        from lidistill.io.errors import without_worker_trace

        _complain("error", without_worker_trace(f"{error}") or type(error).__name__)
        return 1


def _how_to_go_on(kept: str | None, args: argparse.Namespace, words: Sequence[str]) -> str:
    """What an interrupted verb leaves, and the command that goes on from there."""
    command = f"`lidistill {shlex.join(words)}`"
    if kept is None or getattr(args, "dry_run", False):
        return f"nothing half-written is left; {command} starts again"
    return f"{kept.format_map(_Options(vars(args)))}; {command} continues there"


class _Options(dict[str, object]):
    """A verb's options by name; one that was not read yet is a word."""

    def __missing__(self, name: str) -> str:
        return "its folder"


def _complain(title: str, message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((f"{title}: ", "bold red"), message)
    Console(stderr=True, soft_wrap=True).print(text)


def entry(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and end the process, as the console script does.

    Args:
        argv: Words after ``lidistill``; those of the process if None.
    """
    code = main(argv)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the work is done: no traceback of clean-up
    if code > INTERRUPTED:
        leave(code)  # threads of an interrupted verb may still compute
    sys.exit(code)


if __name__ == "__main__":
    entry()
