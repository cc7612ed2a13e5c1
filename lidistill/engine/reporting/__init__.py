# SPDX-License-Identifier: Apache-2.0
"""From trained weights to a page: what is measured and pictured for a report."""
