# SPDX-License-Identifier: Apache-2.0
"""``lidistill eval``: scores of result files that any program wrote."""
