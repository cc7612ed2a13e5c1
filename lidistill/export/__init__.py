# SPDX-License-Identifier: Apache-2.0
"""In and out: published weights into our students, our students into other projects."""
