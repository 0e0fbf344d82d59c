# SPDX-License-Identifier: Apache-2.0
"""What one interaction may contribute: clipping. Knows vectors and bounds, not users or models."""
