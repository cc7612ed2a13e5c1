# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye view: pixels lifted along their rays and summed into the cells of a map."""
