# SPDX-License-Identifier: Apache-2.0
"""What others may fetch over HTTP: so far the public log, which says nothing about anybody.

``tiles`` serves it, ``export`` writes the same files to a folder.
"""
