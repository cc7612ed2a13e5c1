# SPDX-License-Identifier: Apache-2.0
"""Regions of camera images: made by SLIC or imported, kept in a store."""
