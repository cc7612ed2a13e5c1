# SPDX-License-Identifier: Apache-2.0
"""A stage that trains nothing: it writes a word into a file."""

from tests.engine.toy_tool import write_word

tool = dict(type=write_word, word="first")
