# SPDX-License-Identifier: Apache-2.0
"""Keys and sealing.

``keys``: the owner's root key and what is derived from it; ``keyring``: the ways to open the root, ``wraps`` (under a
passphrase) and ``words`` (on paper); ``identity``: what an owner signs with; ``datakeys``: what a day is sealed
under; ``signerfile`` and ``logkeys``: the keys of a witness and of a log; ``seal``: authenticated encryption;
``files``: small files, whole or absent.
"""
