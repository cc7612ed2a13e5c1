# SPDX-License-Identifier: Apache-2.0
"""Evidence: tables of what a method is worth, filled by a command and shown on the docs pages."""
