# SPDX-License-Identifier: Apache-2.0
"""The ``lidistill`` command: one table of verbs, each a module that is imported only when used.

A verb's module has ``HELP: str``, ``add_arguments(parser)`` and ``run(args) -> int``. Errors that a
user can mend (missing or broken files, wrong values, packages that are not installed) are printed
as one message; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from lidistill import __version__

VERBS = {
    "doctor": "lidistill.doctor",
    "world": "lidistill.world.cli",
    "create_data": "lidistill.converters.cli",
    "superpixels": "lidistill.converters.superpixels.cli",
    "teacher_regions": "lidistill.engine.offline.teacher_regions",
    "cache_teacher": "lidistill.engine.offline.cache_teacher",
    "train": "lidistill.engine.train",
    "test": "lidistill.engine.test",
    "import_weights": "lidistill.export.import_cli",
    "export": "lidistill.export.cli",
    "show_config": "lidistill.engine.show_config",
    "dry_run": "lidistill.engine.dry_run",
    "demo": "lidistill.demo",
    "report": "lidistill.visualization.cli",
    "bench": "lidistill.bench.run",
    "evidence": "lidistill.evaluation.cli",
}

# What a user can mend. RuntimeError and the like are faults of the program: they keep a traceback.
USER_ERRORS = (ValueError, OSError, ImportError)


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
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "HELP":
            value = getattr(node, "value", None)
            return str(ast.literal_eval(value)) if value is not None else ""
    return ""


def _module_path(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


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
        near = difflib.get_close_matches(verb, VERBS, n=2) or list(VERBS)
        msg = f"expected a verb, got {verb!r}; did you mean {' or '.join(near)}?"
        raise ValueError(f"{msg} `lidistill --help` lists all.")
    if _module_path(VERBS[verb]) is None:
        raise ImportError(
            f"`lidistill {verb}` is not available: lidistill {__version__} as installed here has "
            f"no module {VERBS[verb]}; update it with `git pull && make setup`"
        )
    module = importlib.import_module(VERBS[verb])
    parser = argparse.ArgumentParser(
        prog=f"lidistill {verb}",
        description=module.HELP,
        formatter_class=HelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: Words after ``lidistill``; those of the process if None.

    Returns:
        Exit code: what the verb returned, 1 after an error, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if not words or words[0] in ("-h", "--help"):  # the overview parses sources: only when asked
        parser.epilog = _overview()
        parser.print_help()
        return 0
    options = parser.parse_args(words)
    if options.verb is None:
        parser.error("expected a verb; `lidistill --help` lists them")
    debug = bool(options.debug)
    try:
        args = build_verb_parser(options.verb).parse_args(options.arguments)
        debug = debug or args.debug
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        _complain("interrupted", f"`lidistill {' '.join(words)}` continues where it stopped")
        return 130
    except BrokenPipeError:  # `lidistill ... | head`
        sys.stderr.close()
        return 1
    except USER_ERRORS as error:
        if debug:
            raise
        _complain("error", f"{error}" or type(error).__name__)
        return 1


def _complain(title: str, message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((f"{title}: ", "bold red"), message)
    Console(stderr=True, soft_wrap=True).print(text)


def entry() -> None:
    """Console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
