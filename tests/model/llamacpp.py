# SPDX-License-Identifier: Apache-2.0
"""A Llama-shaped base as GGUF, for llama.cpp itself: weights in float32, no vocabulary, tokens are numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray

from ipse.model.gguf_file import turned


def write_base(model: Any, path: Path) -> Path:
    """Write a Llama of transformers."""
    config = model.config.to_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in model.named_parameters():
        weight: NDArray[np.float32] = tensor.detach().float().numpy()
        if weight.ndim == 2:
            weight = turned(weight, name.removesuffix(".weight"), config)
        named = names.get_name(name, try_suffixes=(".weight",))
        assert named is not None
        writer.add_tensor(named, np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(llama_cpp: Any, base: Path, tokens: list[int], lora: Path | None = None) -> torch.Tensor:
    """(T, vocabulary): what llama.cpp answers after each token."""
    f32 = llama_cpp.GGML_TYPE_F32
    llama = llama_cpp.Llama(
        str(base),
        n_ctx=len(tokens) + 1,
        n_threads=1,
        logits_all=True,
        type_k=f32,
        type_v=f32,
        lora_path=None if lora is None else str(lora),
        verbose=False,
    )
    llama.eval(tokens)
    return torch.tensor(np.array(llama.scores[: len(tokens)]))
