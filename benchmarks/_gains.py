# SPDX-License-Identifier: Apache-2.0
"""From the curves of users to rows and figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from _judge import Curve

AIMS = {
    "personal_gain_over_lora8": ">= 1.00",
    "personal_gain_at_10_over_lora8": ">= 1.5",
    "total_gain_over_lora4": ">= 1.00",
    "total_gain_over_lora8": ">= 1.05",
    "total_gain_strangers_over_lora8": ">= 0.90",
    "numbers_over_lora4": "<= 0.10",
    "general_loss_ratio": "<= 1.02",
    "worst_user_gain_nats": ">= 0",
    "edit_recall_memory": ">= 0.90",
    "edit_recall_weights": ">= 0.60",
    "edit_collateral_nats": "<= 0.1",
}

Curves = Mapping[tuple[str, str], Sequence[Curve]]


def rows_of(curves: Curves, marks: Sequence[int], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """One row for each method and setting: gains by mark, means over users and seeds."""
    rows = []
    for (method, setting), found in sorted(curves.items(), key=lambda item: (item[0][1] != "total", item[0][0])):
        # Methods that are judged at fewer marks are judged at the second and the last.
        own = marks if len(found[0].after) == len(marks) else (marks[1], marks[-1])
        row: dict[str, Any] = {"method": method, "setting": setting, "users": len({c.user for c in found})}
        row["numbers"] = numbers.get(method.removeprefix("strangers ").removesuffix("+memory"), 0)
        row["base_nats"] = statistics.mean(curve.base for curve in found)
        by_mark = dict(zip(own, (mean_gain(found, i) for i in range(len(own))), strict=True))
        row |= {f"gain_{mark}": by_mark.get(mark, "") for mark in marks}
        last = list(_by_user(found, -1).values())
        row |= {"median": statistics.median(last), "worst": min(last), "seed_sd": _seed_sd(found)}
        rows.append(row)
    return rows


def figures_of(
    curves: Curves, marks: Sequence[int], numbers: Mapping[str, int], edits: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The named figures, as many as the methods that were run give."""
    figures: dict[str, float] = {}

    def ratio(name: str, setting: str, ours: str, peer: str, mark: int) -> None:
        if (ours, setting) in curves and (peer, setting) in curves:
            figures[name] = mean_gain(curves[ours, setting], mark) / mean_gain(curves[peer, setting], mark)

    ratio("personal_gain_over_lora8", "personal", "population", "lora8", -1)
    ratio("personal_gain_at_10_over_lora8", "personal", "population", "lora8", 1)
    ratio("personal_gain_over_lora4", "personal", "population", "lora4", -1)
    ratio("total_gain_over_lora4", "total", "population", "lora4", -1)
    ratio("total_gain_over_lora8", "total", "population", "lora8", -1)
    ratio("total_gain_strangers_over_lora8", "total", "strangers population", "strangers lora8", -1)
    ratio("svd_personal_gain_over_lora8", "personal", "svd", "lora8", -1)
    ratio("svd_total_gain_over_lora8", "total", "svd", "lora8", -1)
    total, personal = curves.get(("population", "total")), curves.get(("population", "personal"))
    if total:
        figures["total_gain_nats"] = mean_gain(total, -1)
        figures["worst_user_gain_nats"] = min(_by_user(total, -1).values())
    if personal:
        figures["personal_gain_nats"] = mean_gain(personal, -1)
        figures["worst_user_personal_gain_nats"] = min(_by_user(personal, -1).values())
    if total and personal:
        start, pooled = ({c.user: c.base for c in found} for found in (total, personal))
        figures["pooled_gain_nats"] = statistics.mean(start[user] - pooled[user] for user in pooled if user in start)
    figures["numbers_over_lora4"] = numbers["population"] / numbers["lora4"]
    figures |= _general(curves) | _memory(curves) | _edits(edits)
    return figures


def mean_gain(curves: Sequence[Curve], mark: int) -> float:
    """Nats a token at a mark, by its place; the mean over users of the means over seeds."""
    return statistics.mean(_by_user(curves, mark).values())


def _by_user(curves: Sequence[Curve], mark: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for curve in curves:
        found.setdefault(curve.user, []).append(curve.gains[mark])
    return {user: statistics.mean(gains) for user, gains in found.items()}


def _seed_sd(curves: Sequence[Curve]) -> float:
    """Standard deviation over seeds of the mean gain at the last mark; 0 for one seed."""
    count: dict[str, int] = {}
    rounds: dict[int, list[float]] = {}
    for curve in curves:
        turn = count[curve.user] = count.get(curve.user, -1) + 1
        rounds.setdefault(turn, []).append(curve.gains[-1])
    means = [statistics.mean(gains) for gains in rounds.values()]
    return statistics.stdev(means) if len(means) > 1 else 0.0


def _general(curves: Curves) -> dict[str, float]:
    """Loss on the general set after over before, mean over users."""
    figures = {}
    for method, name in (("population", "general_loss_ratio"), ("lora8", "general_loss_ratio_lora8")):
        ratios = [
            c.extra["general"] / c.extra["general_before"]
            for c in curves.get((method, "total"), ())
            if "general" in c.extra
        ]
        if ratios:
            figures[name] = statistics.mean(ratios)
    return figures


def _memory(curves: Curves) -> dict[str, float]:
    """Total gains with a memory, and of the same users by weights alone."""
    figures = {}
    judged: set[str] = set()
    for method, name in (("memory", "memory_gain_nats"), ("population+memory", "weights_and_memory_gain_nats")):
        if found := curves.get((method, "total")):
            figures[name] = mean_gain(found, -1)
            judged = {curve.user for curve in found}
    alone = [curve for curve in curves.get(("population", "total"), ()) if curve.user in judged]
    if alone:
        figures["weights_gain_same_users_nats"] = mean_gain(alone, -1)
    return figures


def _edits(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    if not rows:
        return {}
    return {
        "edit_recall_memory": statistics.mean(float(row["memory_recalled"]) for row in rows),
        "edit_recall_weights": statistics.mean(float(row["weights_recalled"]) for row in rows),
        "edit_collateral_nats": statistics.mean(row["collateral_nats"] for row in rows),
        "edit_inner_steps": statistics.mean(row["inner_steps"] for row in rows),
    }
