# SPDX-License-Identifier: Apache-2.0
"""SemanticKITTI, or any data set in its layout, to info files."""
