# SPDX-License-Identifier: Apache-2.0
"""A user's own model, at rest and in motion. Start at ``interact.py``, which tells the life of one interaction."""
