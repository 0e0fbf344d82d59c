# SPDX-License-Identifier: Apache-2.0
"""The base and the personal state.

Layout and state (no torch), bases and their subspace, the forward passes, generation, gradients, and the
algebra of forks (mean, merge, rebase, export). Start at ``base.py``.
"""
