# SPDX-License-Identifier: Apache-2.0
"""Tables on disk: the only room that touches a database. It keeps sealed bytes and cannot open them.

``store`` is the interface, ``rows`` what goes in and out, ``logrows`` the same for the public log, ``schema`` the
tables, ``opening`` and ``faults`` what can go wrong with a file, ``seen`` how an older copy of it is noticed.
"""
