# SPDX-License-Identifier: Apache-2.0
"""mmcv's ops: our stand-in beside its algorithms, and beside the compiled extension."""
