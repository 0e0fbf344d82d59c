# SPDX-License-Identifier: Apache-2.0
"""Keys and sealing. ``keys``: the owner's root key and what is derived from it; ``seal``: authenticated encryption."""
