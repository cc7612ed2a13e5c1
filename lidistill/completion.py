# SPDX-License-Identifier: Apache-2.0
"""``lidistill completion``: what the tab key gives in a shell: verbs, then configs, then files."""

from __future__ import annotations

import argparse
import shlex
import sys

HELP = 'print shell completion; eval "$(lidistill completion bash)" puts it in place'
CONFIG_VERBS = ("train", "test", "dry_run", "show_config", "cache_teacher", "teacher_regions")
"""Verbs whose first word is a config."""

SCRIPT = """\
_lidistill() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}"
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
    elif [ "$COMP_CWORD" -eq 2 ]; then
        case "${{COMP_WORDS[1]}}" in
        {configs})
            COMPREPLY=($(compgen -W "$({find})" -- "$word"))
            ;;
        completion)
            COMPREPLY=($(compgen -W "bash zsh" -- "$word"))
            ;;
        esac
    fi
}}
complete -o default -F _lidistill lidistill
"""
FIND = (
    "if [ -d configs ]; then find configs -name '*.py' | sort; "
    "else cd {shipped} && find . -name '*.py' -not -path '*/_base_/*' | sed 's|^[.]/||' | sort; fi"
)
"""Configs of this folder; elsewhere, the names of those that come with lidistill."""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="of which shell")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    sys.stdout.write(script(args.shell))
    return 0


def script(shell: str) -> str:
    """The script of a shell: ``bash`` or ``zsh``."""
    from lidistill.cli import VERBS
    from lidistill.engine.configs.shipped import shipped_configs

    shipped = shlex.quote(str(shipped_configs()))
    find = FIND.format(shipped=shipped)
    text = SCRIPT.format(verbs=" ".join(VERBS), configs="|".join(CONFIG_VERBS), find=find)
    return ZSH + text if shell == "zsh" else text
