# SPDX-License-Identifier: Apache-2.0
"""Raw datasets to info files and superpixel stores: offline, resumable, parallel."""
