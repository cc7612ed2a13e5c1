# SPDX-License-Identifier: Apache-2.0
"""What stands and moves in a scene: things, streets, traffic, people, light."""
