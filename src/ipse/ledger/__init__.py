# SPDX-License-Identifier: Apache-2.0
"""A fork's history and how it is proven. Knows nothing of tensors or of disks.

A fork: ``record`` seals and opens what happened, ``envelope`` is what strangers see of it, ``access`` who may write and
read, ``chain`` and ``outline`` the whole history without a key, ``forkhead`` its head, ``recordproof`` one record shown
to a stranger, ``bundle`` all of it in one file.

A log in the form of C2SP: ``tree`` (root hashes, proofs), ``tiles`` (the log as files), ``note`` and ``keys`` (who
signed), ``checkpoint`` over ``treehead`` (how large the log is), ``tlogproof`` (one entry proven in one file),
``policy`` (whose checkpoints are believed), ``witness`` (who cosigns them, and remembers). This installation's own:
``log`` appends and signs, ``publiclog`` reads and checks.
"""
