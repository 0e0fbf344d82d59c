# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
import transformers

from ipse.errors import BaseDamaged, UnsupportedArchitecture
from ipse.model.families import anatomy
from tests.model.tiny_families import FAMILIES, tiny


@pytest.mark.parametrize("family", FAMILIES)
def test_every_adapted_linear_is_a_linear_of_the_stated_rows(family: str) -> None:
    base = tiny(family)
    for linear in base.body.linears:
        modules = [base.model.get_submodule(path) for path in linear.modules]
        assert all(isinstance(module, torch.nn.Linear) for module in modules)
        assert tuple(module.out_features for module in modules) == linear.rows
        assert len({module.in_features for module in modules}) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_no_matrix_of_a_block_is_left_out(family: str) -> None:
    base = tiny(family)
    adapted = {path for linear in base.body.linears for path in linear.modules}
    in_blocks = {
        path
        for path, module in base.model.named_modules()
        if isinstance(module, torch.nn.Linear) and path.startswith("model.layers.")
    }
    assert adapted == in_blocks


@pytest.mark.parametrize(
    "config", [transformers.GPT2Config(), transformers.MixtralConfig(), transformers.MambaConfig()]
)
def test_another_architecture_is_refused_by_name_with_the_supported_ones_listed(
    config: transformers.PretrainedConfig,
) -> None:
    with pytest.raises(UnsupportedArchitecture) as refused:
        anatomy(config.to_dict())
    assert repr(config.model_type) in refused.value.message
    assert "Llama" in refused.value.hint
    assert "Gemma 3" in refused.value.hint


def test_quantised_weights_are_refused() -> None:
    config = transformers.LlamaConfig().to_dict() | {"quantization_config": {"quant_method": "gptq"}}
    with pytest.raises(UnsupportedArchitecture, match="quantised"):
        anatomy(config)


@pytest.mark.parametrize("value", [None, "many", 0, -3, 2.5])
def test_a_configuration_without_sizes_is_damaged(value: object) -> None:
    with pytest.raises(BaseDamaged, match="hidden_size"):
        anatomy(transformers.LlamaConfig().to_dict() | {"hidden_size": value})
