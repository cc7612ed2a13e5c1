# SPDX-License-Identifier: Apache-2.0
"""One file a table: its rows as config, changes, steps and twin. ``table()`` makes it."""
