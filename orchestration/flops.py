"""What a token costs in FLOPs, from a model's config alone, by two accountings; budgets turned into FLOPs.

It knows nothing of engines, batches or budgets in flight. Invariant: every cost is a closed form in whole
numbers, and cutting the same work into other pieces (prefill then decode, or token by token) never changes
the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from actors.engines.folder_files import read_settings
from actors.errors import UserError
from actors.strategy import Role
from actors.work import Cost, CostModel, Unit, writing_cost


@dataclass(frozen=True, slots=True)
class _Family:
    """How a decoder family departs from Llama's layer: norms a layer, norms on heads, biases, experts."""

    norms: int = 2
    head_norms: bool = False
    qkv_bias: bool | None = None
    gated: bool = True
    biased: bool = False
    experts: Literal["none", "mixtral", "qwen"] = "none"


# qkv_bias None: the config's attention_bias says it, for q, k, v and o together. biased: norms and feed-
# forward layers have biases.
_FAMILIES = {
    "llama": _Family(),
    "mistral": _Family(),
    "qwen2": _Family(qkv_bias=True),
    "qwen3": _Family(head_norms=True),
    "phi3": _Family(),
    "gemma": _Family(),
    "gemma2": _Family(norms=4),
    "gpt_neox": _Family(gated=False, biased=True),
    "mixtral": _Family(experts="mixtral"),
    "qwen3_moe": _Family(head_norms=True, experts="qwen"),
}


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one model's tokens cost (an `actors.work.CostModel`).

    `parameters` counts what works on a token: all weights without the embedding table (a look-up costs no
    FLOPs) but with the output head, even where the two are tied; of a mixture of experts, the active experts
    only. `matrix` counts the weights that multiply a token inside the layers, `head` those of one row of the
    output head; `hidden` is the size of a token's state, `width` heads x head size. `window_layers` of the
    layers read at most `window` keys, `full_layers` read all. Without `exact_known` the paper's accounting is all there is. A
    judge `writes` up to so many tokens in each of its `chains` for one score (none: it reads alone), of one step (`stepwise`)
    or of all.
    """

    parameters: int
    matrix: int
    head: int
    hidden: int
    width: int
    full_layers: int
    window_layers: int = 0
    window: int = 0
    exact_known: bool = True
    writes: int = 0
    chains: int = 0
    stepwise: bool = False

    def paper(self, tokens: int) -> int:
        """2 x parameters per token, generated or scored (paper section 7: Y = 2 N D_inference)."""
        return 2 * self.parameters * tokens

    def exact(self, cached: int, computed: int, logits: int) -> int:
        """FLOPs to compute `computed` tokens after `cached` ones, `logits` of them through the output head.

        A multiply-add is two FLOPs. The token at position p reads p + 1 keys (itself too), so attention is
        counted as the causal triangle that is needed, not as the full square. Norms, rotations and
        activations are left out, as in torch's FlopCounterMode. 0 where the shape is not known.
        """
        if not self.exact_known:
            return 0
        attention = self.full_layers * _keys(cached, computed)
        if self.window_layers:
            attention += self.window_layers * _windowed_keys(cached, computed, self.window)
        # Queries by keys and weights by values: two products of `width` multiply-adds per pair.
        return 2 * self.matrix * computed + 4 * self.width * attention + 2 * self.head * logits

    def written(self, read: int) -> Cost:
        """What a judge takes for a score of `read` tokens beside these, where it writes all that it may; else nothing."""
        return writing_cost(self, read, self.writes, self.chains)

    @classmethod
    def from_folder(cls, folder: Path, head: tuple[int, int] | None = None) -> ModelCost:
        """Read a model folder's config.json and, of a process reward model of ours, value_head.json. A model that has another
        `head` than its config says has so many weights and biases in it.

        Such a model keeps its output head only if the value head reads likelihoods. The value head's own
        weights count as parameters; its product, one a step and not one a token, is left out of the exact
        count. Raises UserError where there is no config, or where it describes no known decoder.
        """
        config = read_settings(folder, "config.json")
        cost = cls.from_config(config, head)
        if not (folder / "value_head.json").is_file():
            return cost
        value = read_settings(folder, "value_head.json")
        read = (cost.hidden if value.get("hidden", True) else 0) + (9 if value.get("likelihood", True) else 0)
        width = value.get("width", 0)
        own = read * width + 2 * width + 1 if width else read + 1
        unused = 0 if value.get("likelihood", True) else cost.head
        return replace(cost, parameters=cost.parameters - unused + own, head=cost.head - unused)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], head: tuple[int, int] | None = None) -> ModelCost:
        """Count from a transformers config (as in config.json): in closed form for the decoder families named in this module;
        the parameters alone, on the meta device, for every other text decoder of transformers."""
        kind = config.get("model_type")
        if kind not in _FAMILIES:
            return cls._counted(config, head)
        family = _FAMILIES[kind]
        hidden, layers, heads = (
            _need(config, name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")
        )
        kv_heads = config.get("num_key_value_heads") or heads
        head_size = config.get("head_dim") or hidden // heads
        queries, keys = heads * head_size, kv_heads * head_size

        attention = 2 * hidden * queries + 2 * hidden * keys
        mlp = sum(_mlp_weights(config, family, hidden, layer) for layer in range(layers))
        matrix = layers * attention + mlp
        bias = (
            bool(config.get("attention_bias", family.biased)) if family.qkv_bias is None else family.qkv_bias
        )
        norm = 2 * hidden if family.biased else hidden
        vectors = family.norms * norm + (2 * head_size if family.head_norms else 0)
        if bias:
            vectors += queries + 2 * keys + (hidden if family.qkv_bias is None else 0)
        if config.get("mlp_bias") or family.biased:
            vectors += (2 if family.gated else 1) * _need(config, "intermediate_size") + hidden
        matrices, head_bias = head or _head_weights(config, hidden)
        windowed = _window_layers(config, layers)
        return cls(
            parameters=matrix + layers * vectors + norm + matrices + head_bias,
            matrix=matrix,
            head=matrices,
            hidden=hidden,
            width=queries,
            full_layers=layers - windowed,
            window_layers=windowed,
            window=config["sliding_window"] if windowed else 0,
        )

    @classmethod
    def _counted(cls, config: Mapping[str, Any], given: tuple[int, int] | None = None) -> ModelCost:
        # Loads torch, which no known family needs.
        from actors.engines.counting import active_parameters

        parameters, head = active_parameters(config)
        if given is not None:
            parameters, head = parameters - head + sum(given), given[0]
        text = config.get("text_config", config)
        hidden = text.get("hidden_size") or text.get("n_embd") or text.get("d_model") or 0
        return cls(parameters, parameters - head, head, hidden, 0, 0, exact_known=False)


def paper_alone(costs: Iterable[ModelCost]) -> bool:
    """Whether a run of these models has no exact accounting: a sum that lacks one of them is no number."""
    return not all(cost.exact_known for cost in costs)


def generation_flops(costs: Mapping[Role, CostModel], prompt: int, tokens: int, unit: Unit) -> int:
    """FLOPs of one generation: `tokens` sampled after a prompt of `prompt` tokens and, where `costs` has a verifier, each
    scored once; of a judge that writes, with one judgement of all that it may write.

    By the exact accounting the prompt is computed for this generation alone; samples that share it cost less.
    """
    policy, verifier = costs["policy"], costs.get("verifier")
    written = verifier.written(prompt + tokens) if isinstance(verifier, ModelCost) else Cost()
    if unit == "paper":
        return policy.paper(tokens) + (verifier.paper(tokens) if verifier else 0) + written.paper
    # The last token drawn is never read again by the policy; each draw takes one row of logits.
    drawn = policy.exact(0, prompt + tokens - 1, tokens)
    return drawn + (verifier.exact(0, prompt + tokens, tokens) if verifier else 0) + written.exact


def flops_of_tokens(
    count: int, costs: Mapping[Role, CostModel], prompt: int, typical: int, unit: Unit
) -> int:
    """A budget of `count` sampled tokens in FLOPs, at the average price of a token of a `typical`-token
    generation.
    """
    return -(-count * generation_flops(costs, prompt, typical, unit) // typical)


def flops_of_generations(
    count: int, costs: Mapping[Role, CostModel], prompt: int, typical: int, unit: Unit
) -> int:
    """A budget of `count` generations, the paper's N, in FLOPs, at `typical` tokens a generation."""
    return count * generation_flops(costs, prompt, typical, unit)


def _keys(cached: int, computed: int) -> int:
    """Sum of p + 1 over positions p = cached ... cached + computed - 1."""
    return computed * cached + computed * (computed + 1) // 2


def _windowed_keys(cached: int, computed: int, window: int) -> int:
    """The same sum of min(p + 1, window)."""
    growing = min(max(window - cached, 0), computed)
    return _keys(cached, growing) + (computed - growing) * window


def _need(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int):
        raise UserError.of(f"config.{name}", value, "the model's config.json must give it as a whole number")
    return value


def _mlp_weights(config: Mapping[str, Any], family: _Family, hidden: int, layer: int) -> int:
    """Weights of one feed-forward layer that work on a token: router and active experts, if it has them."""
    dense = (3 if family.gated else 2) * hidden * _need(config, "intermediate_size")
    if family.experts == "none":
        return dense
    active = _need(config, "num_experts_per_tok")
    # Both names are in use for the same number.
    experts = config.get("num_experts") or _need(config, "num_local_experts")
    if family.experts == "mixtral":
        return hidden * experts + active * dense
    every = config.get("decoder_sparse_step") or 1
    if layer in (config.get("mlp_only_layers") or ()) or (layer + 1) % every:
        return dense
    expert = 3 * hidden * _need(config, "moe_intermediate_size")
    return hidden * experts + active * expert


def _head_weights(config: Mapping[str, Any], hidden: int) -> tuple[int, int]:
    """Weights and biases of one row of the output head: a vocabulary, or a classifier's labels."""
    architecture = (config.get("architectures") or ["ForCausalLM"])[0]
    if architecture.endswith("ForProcessRewardModel"):  # Linear, ReLU, Linear, as in Qwen's math PRMs
        return hidden * hidden + 2 * hidden, hidden + 2
    if architecture.endswith(("ForTokenClassification", "ForSequenceClassification")):
        labels = config.get("num_labels") or len(config.get("id2label") or (0, 1))
        return labels * hidden, labels if architecture.endswith("ForTokenClassification") else 0
    return _need(config, "vocab_size") * hidden, 0


def _window_layers(config: Mapping[str, Any], layers: int) -> int:
    """How many layers read a sliding window only."""
    if not config.get("sliding_window"):
        return 0
    kinds = config.get("layer_types")
    if kinds:
        return sum(kind == "sliding_attention" for kind in kinds[:layers])
    kind = config["model_type"]
    if kind in ("qwen2", "qwen3", "qwen3_moe"):
        return (
            max(layers - (config.get("max_window_layers") or 0), 0) if config.get("use_sliding_window") else 0
        )
    return (layers + 1) // 2 if kind == "gemma2" else layers
