# SPDX-License-Identifier: Apache-2.0
"""The ``ipse`` command: the only room that prints, reads settings and configures logging.

Start at ``main.py``. One file per noun: chat, replay, generate, fork, base, bench, doctor, demo. What needs
torch is imported inside the command that needs it, so help, ``fork list`` and ``doctor`` work without.
"""
