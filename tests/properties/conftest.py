# SPDX-License-Identifier: Apache-2.0
"""Laws are checked without a deadline: a loaded machine is no counterexample."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("laws", deadline=None)
settings.load_profile("laws")
