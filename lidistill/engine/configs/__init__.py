# SPDX-License-Identifier: Apache-2.0
"""Configs: read, from data files too; options, overrides and stages; what one builds."""
