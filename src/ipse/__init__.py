# SPDX-License-Identifier: Apache-2.0
"""Ipse: a model of your own that learns as you talk.

    from ipse import Home, UserInput, UserModelLifecycle, load_base

    base = load_base()                                    # the small chat base that ships with Ipse
    with Home.open(Path("my-forks")) as home:
        life = UserModelLifecycle(home, base, "ada")      # opens Ada's fork, or makes it
        print(life.interact(UserInput("Good morning!")).text)
        print(life.learn_pending())                       # what was learned, once it is on the disk

Rooms, from the bottom: ``errors``, ``wire``, ``store`` and ``vault``, ``ledger``, ``privacy`` and ``model``,
``learning``, ``forks``, ``cli``. Imports only go down. The names below load their room when first used, so
that ``import ipse`` needs neither torch nor time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipse.forks.home import Home
    from ipse.forks.interact import UserInput, UserModelLifecycle
    from ipse.learning.step import StepSettings
    from ipse.model.base import load_base
    from ipse.model.generate import Sampling, generate

__version__ = "0.1.0"

__all__ = ["Home", "Sampling", "StepSettings", "UserInput", "UserModelLifecycle", "generate", "load_base"]

_WHERE = {
    "Home": "ipse.forks.home",
    "Sampling": "ipse.model.generate",
    "StepSettings": "ipse.learning.step",
    "UserInput": "ipse.forks.interact",
    "UserModelLifecycle": "ipse.forks.interact",
    "generate": "ipse.model.generate",
    "load_base": "ipse.model.base",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'ipse' has no attribute {name!r}")
