# SPDX-License-Identifier: Apache-2.0
"""Objects before and after completion: pictures, a sheet a scene, recordings."""
