# SPDX-License-Identifier: Apache-2.0
"""``python -m ipse.cli``: the same as the ``ipse`` command."""

import sys

from ipse.cli.main import main

sys.exit(main())
