# SPDX-License-Identifier: Apache-2.0
"""What ships inside the package and is not code: the base, and the two scripted users of ``ipse demo``."""
