# SPDX-License-Identifier: Apache-2.0
"""(state, interaction) -> update, pure.

``objective`` says what counts, ``step`` how far to go, ``memory`` what to put back into the context,
``population`` which subspace to learn in, ``explain`` what an update changed.
"""
