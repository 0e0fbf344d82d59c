# SPDX-License-Identifier: Apache-2.0
"""A fork's history: ``record`` seals, opens and chains what happened to it. Knows nothing of tensors or of disks."""
