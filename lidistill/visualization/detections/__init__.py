# SPDX-License-Identifier: Apache-2.0
"""Pictures of what detectors found, and of their scores."""
