# SPDX-License-Identifier: Apache-2.0
"""Networks: students, teachers, heads."""
