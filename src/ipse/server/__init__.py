# SPDX-License-Identifier: Apache-2.0
"""What others ask over HTTP. Each module is one service: what it answers is decided in the rooms below.

``tiles`` serves the public log, ``export`` writes the same files to a folder; ``witness`` cosigns other logs;
``listening`` is what the servers have in common.
"""
