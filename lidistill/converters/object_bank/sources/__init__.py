# SPDX-License-Identifier: Apache-2.0
"""Where tracks come from: data sets, plain arrays, saved tracks of a detector."""
