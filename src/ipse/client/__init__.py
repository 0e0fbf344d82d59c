# SPDX-License-Identifier: Apache-2.0
"""Asking others, and believing nothing of it unchecked. No torch, no keys of an owner.

``web``: HTTP with limits; ``logs``: a log's files from an address or a folder; ``witness``: asking for cosignatures;
``auditor``: remembering what a log has shown, and catching it when it shows something else.
"""
