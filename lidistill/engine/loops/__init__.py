# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation loops of mmengine that resume where they were killed."""
