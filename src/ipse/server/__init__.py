# SPDX-License-Identifier: Apache-2.0
"""What others ask over HTTP. Each module is one service: what it answers is decided in the rooms below.

``witness``: cosignatures for logs; ``tiles``: the public log, and ``export`` the same as files for any web server;
``listening``: what the servers have in common.
"""
