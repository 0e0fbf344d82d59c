# SPDX-License-Identifier: Apache-2.0
"""A population basis: made from transcripts, on any base, without touching the base."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ipse.errors import InputError
from ipse.learning.population import FitSettings, PublicUser, fit, read_users
from ipse.model.base import load_base
from ipse.model.basis import load_basis
from ipse.model.chat import Turn
from tests.model.tiny_families import random_model, save

SETTINGS = FitSettings(interactions=8, batch=2, min_interactions=2)


def people(count: int = 4) -> list[PublicUser]:
    """Each says their own words over and over."""
    made = []
    for number in range(count):
        words = [f"w{3 + (7 * number + k) % 60}" for k in range(6)]
        turns = [t for k in range(8) for t in (Turn("user", " ".join(words[k % 3 :])), Turn("assistant", "w5 w6"))]
        made.append(PublicUser(f"user {number}", (tuple(turns),)))
    return made


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_a_basis_is_fitted_on_any_family_and_the_base_is_left_as_it_was(family: str, tmp_path: Path) -> None:
    directory = save(random_model(family), tmp_path / family)
    base = load_base(directory, rank=3)
    model = base.module().float()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = fit(model, base.anatomy.linears, base.tokenizer, people(), 3, settings=SETTINGS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())
    found.basis.save(tmp_path / "basis.safetensors")
    on_it = load_base(directory, basis=tmp_path / "basis.safetensors")
    assert on_it.basis.kind == "population"
    assert on_it.layout.size == base.layout.size
    assert set(on_it.basis.fitted_on) == {user.hash for user in people()}


def test_fitting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    base = load_base(save(random_model("llama"), tmp_path / "llama"), rank=3)
    digests = {
        fit(base.module().float(), base.anatomy.linears, base.tokenizer, people(), 3, settings=SETTINGS).basis.digest
        for _ in range(2)
    }
    assert len(digests) == 1


def test_the_first_directions_are_where_the_users_went(tmp_path: Path) -> None:
    base = load_base(save(random_model("llama"), tmp_path / "llama"), rank=6)
    found = fit(base.module().float(), base.anatomy.linears, base.tokenizer, people(), 6, settings=SETTINGS)
    for part in found.basis.linears:
        np.testing.assert_allclose(part.u.T @ part.u, np.eye(6), atol=1e-3)
        kept = part.u @ part.u.T @ found.mean[part.name].numpy() @ part.v.T @ part.v
        rng = np.random.default_rng(0)
        u, _ = np.linalg.qr(rng.standard_normal(part.u.shape))
        v, _ = np.linalg.qr(rng.standard_normal(part.v.T.shape))
        by_chance = u @ u.T @ found.mean[part.name].numpy() @ v @ v.T
        assert np.linalg.norm(kept) > 2 * np.linalg.norm(by_chance)


def test_people_with_too_little_to_say_are_refused(tmp_path: Path) -> None:
    base = load_base(save(random_model("llama"), tmp_path / "llama"), rank=3)
    quiet = [PublicUser("quiet", ((Turn("user", "w3"),),))]
    with pytest.raises(InputError, match="messages"):
        fit(base.module().float(), base.anatomy.linears, base.tokenizer, quiet, 3, settings=SETTINGS)


def test_transcripts_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    good = json.dumps({"user": "a", "dialogues": [{"turns": [["user", "Hi."], ["assistant", "Hello!"]]}]})
    path = tmp_path / "users.jsonl"
    path.write_text(good + "\n\n" + good + "\n")
    assert [u.dialogues[0][0] for u in read_users(path)] == [Turn("user", "Hi."), Turn("user", "Hi.")]
    path.write_text(good + "\n{]\n")
    with pytest.raises(InputError, match="Line 2"):
        read_users(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"users\.jsonl"):
        read_users(path)


def test_the_shipped_basis_names_the_users_it_must_not_be_judged_on() -> None:
    base = load_base()
    assert base.basis.kind == "population"
    assert len(base.basis.fitted_on) > 50
    assert load_basis(base.directory / "basis.safetensors").digest == base.layout.basis_digest
