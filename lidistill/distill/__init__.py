# SPDX-License-Identifier: Apache-2.0
"""The core: Distiller, Teacher, Tap, Connector, Region, Schedule, and the audit."""
