# SPDX-License-Identifier: Apache-2.0
"""Pure tensor functions: what student and teacher features are compared by."""
