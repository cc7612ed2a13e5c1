# SPDX-License-Identifier: Apache-2.0
"""Answers the questions of a module on pipes, in the interpreter that has the original.

Started by `oracle.Oracle` with the module's name; each question is a pickled pair of name and
arguments, each answer a pickled pair: true and what the function returned, or false and the error
in words.
"""

from __future__ import annotations

import os
import pickle
import sys
from importlib import import_module

import torch


def main(module: str) -> None:
    """Answer until the asking side closes its pipe."""
    questions = import_module(module)
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print does not get between the answers
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, getattr(questions, name)(**arguments)
        except Exception as error:
            answer = False, f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
