# SPDX-License-Identifier: Apache-2.0
"""lidistill: 3D perception models taught by other models."""

__version__ = "0.1.0"
