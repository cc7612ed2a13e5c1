# SPDX-License-Identifier: Apache-2.0
"""Local graphs: nearest places, and reductions over their edges."""
