# SPDX-License-Identifier: Apache-2.0
"""Keys and sealing.

``keys``: the owner's root key and what is derived from it; ``keyring``: the ways to open the root, ``wraps`` (under a
passphrase) and ``words`` (on paper); ``signerfile``: the keys of a log or a witness, ``logkeys``: of the log here;
``seal``: authenticated encryption; ``files``: small files, whole or absent.
"""
