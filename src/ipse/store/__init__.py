# SPDX-License-Identifier: Apache-2.0
"""Tables on disk: the only room that touches a database. It keeps sealed bytes and cannot open them.

``store`` is the interface, ``rows`` what goes in and out, ``logrows`` the same for the public log, ``schema`` the
tables, ``writes`` what a write does to them; ``writer`` puts writes in order and into groups, ``wal`` moves the
write-ahead log into the file; ``opening`` and ``faults`` are what can go wrong with a file, ``seen`` how an older copy
of it is noticed.
"""
