# SPDX-License-Identifier: Apache-2.0
"""How the chat model that ships with Ipse is made: corpora, generators, training, evaluation.

One command does it, and can be killed and started again:

    python -m tools.base --corpora DIR --init DIR --out DIR --minutes 60
"""
