# SPDX-License-Identifier: Apache-2.0
"""What methods on detectors share: networks, heads, labels, matched places and choices."""
