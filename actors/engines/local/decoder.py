"""The forward pass over slots: ragged rows of new tokens after cached ones, for Llama-like models and for any other.

`LlamaDecoder` runs weights that transformers wrote for Llama, Qwen2 and Qwen3, with fused projections; `HubDecoder`
runs every other causal model through transformers' own code on the same slots. Neither knows of requests or sampling.
Invariant: a row's hidden states depend on that row's tokens alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from actors.engines.local.kv import SlotCache
from actors.engines.local.probe import check_on_slots
from actors.engines.model_config import read_config
from actors.engines.positions import steady_context
from actors.engines.tensors import read_weights
from actors.engines.weights import check_unquantised
from actors.engines.whole import WAY_OUT, check_tensors, load_whole
from actors.errors import UserError

LLAMA_LIKE = ("llama", "qwen2", "qwen3")
ATTENTION = "sdpa"
"""The attention of transformers' own that takes a mask of any shape."""

# Shapes: B rows, T new tokens a row (right-padded), L cached and new positions, D model width, V vocabulary.


class Decoder(Protocol):
    """A causal model over the rows [first, first + B) of a slot cache."""

    @property
    def context(self) -> int: ...

    def new_cache(self, rows: int) -> SlotCache:
        """A cache that comes to hold `rows` rows at most."""

    def forward(self, tokens: Tensor, starts: Tensor, cache: SlotCache, first: int, longest: int) -> Tensor:
        """Run tokens [B, T] that follow `starts` [B] cached ones; return final hidden states [B, T, D].

        `longest` is max(starts) + T. Padding writes keys past a row's end, which later tokens overwrite.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Output head in float32: [..., D] to [..., V]."""


def load_decoder(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    config: Any = None,
    beside: Collection[str] = (),
) -> tuple[Decoder, Any]:
    """Load a causal language model from a folder as transformers saves it; return it and its config, which may be given.

    The tensors named `beside` are another head's: where there are any, the model has no head over its vocabulary, and gives
    no logits.
    """
    config = read_config(folder) if config is None else config
    if llama_like(config):
        check_unquantised(folder, "model", "set engine=vllm")
        weights = read_weights(folder)
        for name in [*beside, "lm_head.weight"] if beside else ():
            weights.pop(name, None)
        check_tensors(folder, config, weights, headless=bool(beside))
        decoder = LlamaDecoder(config, weights, dtype=dtype, device=device, headless=bool(beside))
        return decoder, config
    model = load_whole(folder, config, dtype=dtype, beside=beside, attn_implementation=ATTENTION)
    return HubDecoder(model, config, dtype=dtype, device=device), config


def llama_like(config: Any) -> bool:
    """Whether `LlamaDecoder` runs a model of this config."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return config.model_type in LLAMA_LIKE and kinds == {"full_attention"}


def check_config(config: Any, way_out: str = WAY_OUT) -> None:
    """Raise UserError for what no decoder here computes, as a config alone tells."""
    if llama_like(config):
        act = getattr(config, "hidden_act", "silu")
        if act != "silu":
            mend = f"the local engine runs this family with silu alone: {way_out}"
            raise UserError.of("model.hidden_act", act, mend)
        return
    text = config.get_text_config()
    for name in ("final_logit_softcapping", "attn_logit_softcapping"):
        if getattr(text, name, None):
            mend = f"the local engine does not apply it: {way_out}"
            raise UserError.of(f"model.{name}", getattr(text, name), mend)
    window = getattr(text, "sliding_window", None)
    if window and window < int(text.max_position_embeddings):
        mend = f"the local engine has full attention alone: {way_out}"
        raise UserError.of("model.sliding_window", window, mend)


class _Layer:
    """One block's weights, q, k, v and gate, up fused into one matrix each."""

    def __init__(self, take: Any, index: int) -> None:
        p = f"model.layers.{index}."
        self.qkv = torch.cat([take(f"{p}self_attn.{n}_proj.weight") for n in "qkv"])
        biases = [take(f"{p}self_attn.{n}_proj.bias", optional=True) for n in "qkv"]
        self.qkv_bias = None if biases[0] is None else torch.cat(biases)
        self.out = take(f"{p}self_attn.o_proj.weight")
        self.out_bias = take(f"{p}self_attn.o_proj.bias", optional=True)
        self.q_norm = take(f"{p}self_attn.q_norm.weight", optional=True)
        self.k_norm = take(f"{p}self_attn.k_norm.weight", optional=True)
        self.gate_up = torch.cat([take(f"{p}mlp.{n}_proj.weight") for n in ("gate", "up")])
        gate_bias = take(f"{p}mlp.gate_proj.bias", optional=True)
        up_bias = take(f"{p}mlp.up_proj.bias", optional=True)
        self.gate_up_bias = None if gate_bias is None else torch.cat([gate_bias, up_bias])
        self.down = take(f"{p}mlp.down_proj.weight")
        self.down_bias = take(f"{p}mlp.down_proj.bias", optional=True)
        self.norm_1 = take(f"{p}input_layernorm.weight")
        self.norm_2 = take(f"{p}post_attention_layernorm.weight")


class LlamaDecoder:
    """Llama, Qwen2 and Qwen3 (dense, full attention)."""

    def __init__(
        self,
        config: Any,
        weights: dict[str, Tensor],
        *,
        dtype: torch.dtype,
        device: torch.device,
        headless: bool = False,
    ) -> None:
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        def take(name: str, *, optional: bool = False) -> Tensor | None:
            # A verifier's folder may hold the bare backbone, without the "model." in front.
            for key in (name, name.removeprefix("model.")):
                if key in weights:
                    # Not there twice for longer than it takes.
                    return weights.pop(key).to(device=device, dtype=dtype)
            if optional:
                return None
            raise UserError.of("model", name, "this tensor is missing from the safetensors files")

        check_config(config)
        self._dtype, self._device = dtype, device
        self.context = steady_context(config) or int(config.max_position_embeddings)
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(config.num_key_value_heads)
        head_dim = getattr(config, "head_dim", None)
        self.head_dim = int(head_dim or config.hidden_size // self.heads)
        self.eps = float(config.rms_norm_eps)
        self.embed = cast(Tensor, take("model.embed_tokens.weight"))
        tied = bool(config.tie_word_embeddings) or headless
        self.head = self.embed if tied else cast(Tensor, take("lm_head.weight"))
        self.norm = cast(Tensor, take("model.norm.weight"))
        self.layers = [_Layer(take, i) for i in range(config.num_hidden_layers)]
        rotary = LlamaRotaryEmbedding(config=config)
        positions = torch.arange(self.context)[None]
        cos, sin = rotary(torch.zeros(1, dtype=torch.float32), positions)
        self.cos, self.sin = cos[0].to(device, dtype), sin[0].to(device, dtype)

    def new_cache(self, rows: int) -> SlotCache:
        return SlotCache(
            len(self.layers),
            rows,
            self.kv_heads,
            self.head_dim,
            context=self.context,
            dtype=self._dtype,
            device=self._device,
        )

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.head).float()

    def forward(self, tokens: Tensor, starts: Tensor, cache: SlotCache, first: int, longest: int) -> Tensor:
        rows, width = tokens.shape
        positions = starts[:, None] + torch.arange(width, device=tokens.device)
        clipped = positions.clamp(max=self.context - 1)
        cos, sin = self.cos[clipped][:, :, None], self.sin[clipped][:, :, None]
        visible = torch.arange(longest, device=tokens.device) <= positions[:, :, None]
        mask = torch.zeros(visible.shape, dtype=self._dtype, device=tokens.device).masked_fill_(
            ~visible, float("-inf")
        )
        group = self.heads // self.kv_heads
        mask = mask[:, None, None].expand(rows, 1, group, width, longest).reshape(rows, 1, group * width, -1)
        cache.reserve(first + rows, longest)
        index = torch.arange(first, first + rows, device=tokens.device)[:, None]
        x = F.embedding(tokens, self.embed)
        for number, layer in enumerate(self.layers):
            keys, values = cache.layers[number]
            h = F.rms_norm(x, x.shape[-1:], layer.norm_1, self.eps)
            qkv = F.linear(h, layer.qkv, layer.qkv_bias).view(rows, width, -1, self.head_dim)
            q, k, v = torch.split(qkv, [self.heads, self.kv_heads, self.kv_heads], dim=2)
            if layer.q_norm is not None:
                q = F.rms_norm(q, q.shape[-1:], layer.q_norm, self.eps)
                k = F.rms_norm(k, k.shape[-1:], layer.k_norm, self.eps)
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
            keys[index, :, positions] = k
            values[index, :, positions] = v
            k_all = keys[first : first + rows, :, :longest]
            v_all = values[first : first + rows, :, :longest]
            # Heads of one group share keys, so they stand as queries of one kv head: [B, kv, group * T, d].
            q = q.transpose(1, 2).reshape(rows, self.kv_heads, group * width, self.head_dim)
            a = _attend(q, k_all, v_all, mask)
            a = a.reshape(rows, self.heads, width, self.head_dim).transpose(1, 2).reshape(rows, width, -1)
            x = x + F.linear(a, layer.out, layer.out_bias)
            h = F.rms_norm(x, x.shape[-1:], layer.norm_2, self.eps)
            gate, up = F.linear(h, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down, layer.down_bias)
        return F.rms_norm(x, x.shape[-1:], self.norm, self.eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, halves convention, x [B, T, heads, d]."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class HubDecoder:
    """Any causal model of transformers' own."""

    def __init__(
        self,
        model: Any,
        config: Any,
        *,
        dtype: torch.dtype,
        device: torch.device,
        way_out: str = WAY_OUT,
    ) -> None:
        check_config(config, way_out)
        self._model = model.to(device).eval()
        self._dtype, self._device = dtype, device
        text = config.get_text_config()
        self.context = steady_context(text) or int(text.max_position_embeddings)
        # Cohere multiplies by the one, Granite divides by the other: greedy tokens are the same without, samples are not.
        self._scale = float(getattr(text, "logit_scale", None) or 1) / float(
            getattr(text, "logits_scaling", None) or 1
        )
        self._layers = int(text.num_hidden_layers)
        # What has no heads is refused below.
        heads = int(getattr(text, "num_attention_heads", None) or 1)
        self._kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
        self._head_dim = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
        check_on_slots(self, self._model, config.model_type, dtype, device, way_out)

    def new_cache(self, rows: int) -> SlotCache:
        return SlotCache(
            self._layers,
            rows,
            self._kv_heads,
            self._head_dim,
            context=self.context,
            dtype=self._dtype,
            device=self._device,
        )

    def logits(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self._model.get_output_embeddings()(hidden)).float() * self._scale

    def forward(self, tokens: Tensor, starts: Tensor, cache: SlotCache, first: int, longest: int) -> Tensor:
        from actors.engines.local.hub_cache import slot_view

        positions = starts[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        visible = torch.arange(longest, device=tokens.device) <= positions[:, :, None]
        mask = torch.zeros(visible.shape, dtype=self._dtype, device=tokens.device).masked_fill_(
            ~visible, torch.finfo(self._dtype).min
        )
        cache.reserve(first + len(tokens), longest)
        body = self._model.base_model
        output = body(
            input_ids=tokens,
            attention_mask=mask[:, None],
            position_ids=positions.clamp(max=self.context - 1),
            past_key_values=slot_view(cache, first, positions, longest),
            use_cache=True,
        )
        return cast(Tensor, output.last_hidden_state)
