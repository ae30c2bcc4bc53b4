"""Tiny random checkpoints of public verifier families, and what their authors' code makes of a question and steps.

Each reference is written after the model card or script that it names, with transformers' own classes and one forward pass of
the whole text: nothing of it is shared with the engine. To add a family: a `Public` below.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    set_seed,
)

from actors.engines.base import ScoreRequest, Scores, VerifierEngine
from actors.engines.verifiers.families.base import Reading, Wording
from actors.engines.whole import quiet

QUESTION = "How many eggs are 2 and 3?"
STEPS = ["First add 2.", "Then + 3 = 5, the sum.", "So: 5"]
TEXTS = [
    (QUESTION, STEPS),
    ("Why?", ["Because."]),
    (QUESTION, [STEPS[0], "Then subtract: - 3 = -1."]),
    ("A longer question, of which nobody knows the answer.", ["a + b", "b + c", "the c", "the the", "5"]),
]

CHATML = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role != 'system' %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""As Qwen 2.5's, without tools."""

LLAMA3 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: ' "
    "+ date_string + '\\n\\n' + system_message + '<|eot_id|>' }}"
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
)
"""As Llama 3.1's, without tools; it trims what is said."""

R1 = (
    "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'user' %}{{- '<｜User｜>' + message.content }}"
    "{%- elif message.role == 'assistant' %}"
    "{{- '<｜Assistant｜>' + message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\\n' }}{%- endif %}"
)
"""As DeepSeek's R1 and what was distilled from it, without tools."""

TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "r1": R1}

SPECIAL = {
    "chatml": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"],
    "llama3": ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
    "r1": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
}


def byte_level(
    kind: str, *, bos: bool, more: Sequence[tuple[str, str]] = (), added: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Bytes with a few merges (and `more`), parted before merging as Qwen's and Llama 3's are: line breaks stand apart from
    words. `added` are further special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("Ċ", "Ċ"),
        ("Ġ", "t"),
        ("Ġt", "h"),
        ("Ġth", "e"),
        (".", "Ċ"),
        ("a", "d"),
        ("ad", "d"),
        ("Ġ", "+"),
        *more,
    ]
    pieces = [*letters, *(first + second for first, second in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={one: i for i, one in enumerate(pieces)}, merges=merges))
    words = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    from tokenizers import Regex

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.normalizer = normalizers.NFC()
    special = [*SPECIAL[kind], *added]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=special[0] if bos else None,
        eos_token=special[2] if kind == "chatml" else special[1],
        pad_token=special[0],
        additional_special_tokens=special[1:],
        chat_template=TEMPLATES[kind],
    )


def sentence_pieces() -> PreTrainedTokenizerFast:
    """As Llama 2's and Mistral's: ▁ for spaces and before the text, bytes for what no token says, a begin token."""
    characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-*/=.,:?!ки"
    special = ["<unk>", "<s>", "</s>"]
    merges = [("к", "и"), ("▁", "ки"), ("▁", "+"), ("▁", "-"), ("t", "h"), ("th", "e"), ("▁", "the")]
    pieces = [*special, *(f"<0x{number:02X}>" for number in range(256)), "▁", *characters]
    pieces += [first + second for first, second in merges]
    vocabulary = {one: i for i, one in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


WIDTH = 64


def sizes(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        # Of 32 numbers, the smallest that vLLM takes.
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }


def save(
    folder: Path,
    config: Any,
    tokenizer: PreTrainedTokenizerFast,
    heads: dict[str, tuple[int, ...]],
    architecture: str,
    *,
    vocabulary: bool = False,
) -> Path:
    """A random model of a config with these further tensors, with or without its head over the vocabulary."""
    set_seed(11)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = {name: 3 * one if one.dim() > 1 else one for name, one in model.state_dict().items()}
    if not vocabulary:
        weights.pop("lm_head.weight")
    weights |= {name: torch.randn(shape) * 0.2 for name, shape in heads.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: one.contiguous() for name, one in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    config.architectures = [architecture]
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


Reference = Callable[[Path, str, Sequence[str]], list[float]]


@torch.inference_mode()
def hidden_states(folder: Path, ids: list[int]) -> Tensor:
    """Final hidden states [T, D] of a folder's model below any head."""
    weights = load_file(folder / "model.safetensors")
    with quiet():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    body = {name.removeprefix("model."): one for name, one in weights.items() if name.startswith("model.")}
    model.load_state_dict(body)
    return model(torch.tensor([ids])).last_hidden_state[0]


def save_qwen(folder: Path) -> Path:
    tokenizer = byte_level("chatml", bos=False)
    config = Qwen2Config(**sizes(tokenizer))
    heads = {
        "score.0.weight": (WIDTH, WIDTH),
        "score.0.bias": (WIDTH,),
        "score.2.weight": (2, WIDTH),
        "score.2.bias": (2,),
    }
    save(folder, config, tokenizer, heads, "Qwen2ForProcessRewardModel")
    # As published: with code of its own, which is not run.
    content = json.loads((folder / "config.json").read_text())
    content["auto_map"] = {
        "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
        "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
    }
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def _tagged(folder: Path, messages: list[dict[str, str]]) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text)
    step_sep_id = tokenizer.encode("<extra_0>")[0]
    weights = load_file(folder / "model.safetensors")
    hidden = hidden_states(folder, ids)
    inner = torch.relu(hidden @ weights["score.0.weight"].T + weights["score.0.bias"])
    logits = inner @ weights["score.2.weight"].T + weights["score.2.bias"]
    return logits.softmax(dim=-1)[torch.tensor(ids) == step_sep_id, 1].tolist()


def qwen_card(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """Model card of Qwen/Qwen2.5-Math-PRM-7B."""
    return _tagged(
        folder,
        [
            {
                "role": "system",
                "content": "Please reason step by step, and put your final answer within \\boxed{}.",
            },
            {"role": "user", "content": question},
            {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
        ],
    )


def reasonflux_card(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """Model card of Gen-Verse/ReasonFlux-PRM-7B: the same without a system turn."""
    return _tagged(
        folder,
        [
            {"role": "user", "content": question},
            {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
        ],
    )


def save_reasonflux_small(folder: Path) -> Path:
    """As published, but for the head: in safetensors beside the weights, as docs/models.md has it made."""
    tokenizer = byte_level("chatml", bos=True)
    # As R1's distilled models put one first.
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tokenizer.bos_token_id)]
    )
    config = Qwen2Config(**sizes(tokenizer))
    save(folder, config, tokenizer, {}, "Qwen2ForCausalLM", vocabulary=True)
    head = {"reward_head.weight": torch.randn(1, WIDTH) * 0.2, "reward_head.bias": torch.randn(1)}
    save_file(head, folder / REWARD_HEAD)
    return folder


REWARD_HEAD = "model-reward-head.safetensors"


def with_pickled_head(folder: Path) -> Path:
    """The same as published: its head as `RewardModel.save_pretrained` writes it."""
    head = {name.removeprefix("reward_head."): one for name, one in load_file(folder / REWARD_HEAD).items()}
    torch.save(head, folder / "reward_head.pt")
    (folder / REWARD_HEAD).unlink()
    return folder


def reasonflux_small_script(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """Gen-Verse/ReasonFlux, ReasonFlux_PRM/README.md and utils/rm_utils.py: one value of problem + completion, here of the
    completion up to each step."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    head = load_file(folder / REWARD_HEAD)
    scores = []
    for count in range(1, len(steps) + 1):
        ids = tokenizer(question + "".join(steps[:count]))["input_ids"]
        final = hidden_states(folder, ids)[-1]
        scores.append(
            float(torch.sigmoid(head["reward_head.weight"] @ final + head["reward_head.bias"]).squeeze(-1))
        )
    return scores


def save_shepherd(folder: Path) -> Path:
    tokenizer = sentence_pieces()
    # As Mistral 7B's first version, on which the published one stands.
    config = MistralConfig(**sizes(tokenizer) | {"max_position_embeddings": 2048}, sliding_window=512)
    return save(folder, config, tokenizer, {}, "MistralForCausalLM", vocabulary=True)


def _logits(folder: Path, ids: list[int]) -> Tensor:
    return hidden_states(folder, ids) @ load_file(folder / "model.safetensors")["lm_head.weight"].T


def shepherd_card(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """Model card of peiyi9979/math-shepherd-mistral-7b-prm."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    candidate_tokens = tokenizer.encode("+ -")[1:]
    step_tag_id = tokenizer.encode("ки")[-1]
    output = "\n".join(f"{step} ки" for step in steps)
    ids = tokenizer.encode(f"{question} {output}")
    scores = _logits(folder, ids)[:, candidate_tokens].softmax(dim=-1)[:, 0]
    return scores[torch.tensor(ids) == step_tag_id].tolist()


def save_rlhflow(folder: Path) -> Path:
    tokenizer = byte_level("llama3", bos=True)
    config = LlamaConfig(**sizes(tokenizer))
    return save(folder, config, tokenizer, {}, "LlamaForCausalLM", vocabulary=True)


def rlhflow_script(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py: a pass for each step."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plus_tag_id, minus_tag_id = tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]
    conversation, scores = [], []
    for number, step in enumerate(steps):
        text = question + " " + step if number == 0 else step
        conversation += [{"content": text, "role": "user"}, {"content": "+", "role": "assistant"}]
        said = tokenizer.apply_chat_template(conversation, tokenize=False)
        ids = tokenizer.encode(said, add_special_tokens=False)
        logits = _logits(folder, ids)[-3, [plus_tag_id, minus_tag_id]]
        scores.append(float(logits.softmax(dim=-1)[0]))
    return scores


def save_skywork(folder: Path) -> Path:
    tokenizer = byte_level("chatml", bos=True)
    config = Qwen2Config(**sizes(tokenizer))
    heads = {"v_head.summary.weight": (1, WIDTH), "v_head.summary.bias": (1,)}
    return save(folder, config, tokenizer, heads, "Qwen2ForPrmModel", vocabulary=True)


def skywork_script(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """SkyworkAI/skywork-o1-prm-inference, `prepare_input` and `derive_step_rewards`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.encode(tokenizer.bos_token + question + "\n")
    flags = [0] * len(ids)
    step_token_id = tokenizer.encode("\n")[-1]
    for step in "\n".join(steps).split("\n"):
        step_ids = [*(tokenizer.encode(step) if step else []), step_token_id]
        ids += step_ids
        flags += [0] * (len(step_ids) - 1) + [1]
    weights = load_file(folder / "model.safetensors")
    values = hidden_states(folder, ids) @ weights["v_head.summary.weight"].T + weights["v_head.summary.bias"]
    return torch.sigmoid(values[torch.tensor(flags) == 1, 0]).tolist()


def _saved_by_transformers(folder: Path, make: Any, config: Any, tokenizer: Any) -> Path:
    set_seed(12)
    model = make.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(2.0)
    model.score.weight.data.normal_(std=0.2)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_trl(folder: Path) -> Path:
    tokenizer = byte_level("chatml", bos=False)
    config = Qwen2Config(**sizes(tokenizer), num_labels=2)
    return _saved_by_transformers(folder, AutoModelForTokenClassification, config, tokenizer)


@torch.inference_mode()
def trl_script(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """TRL, `PRMTrainer.tokenize_row`: labels stand on the last token of each step with its separator."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    separator = tokenizer.encode("\n", add_special_tokens=False)
    ids = tokenizer(question, add_special_tokens=False)["input_ids"]
    if tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id, *ids]
    labelled = []
    for step in steps:
        ids = ids + tokenizer(step, add_special_tokens=False)["input_ids"] + separator
        labelled.append(len(ids) - 1)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return model(torch.tensor([ids])).logits[0, labelled].softmax(dim=-1)[:, 1].tolist()


def name_classes(folder: Path, *names: str) -> Path:
    """Have a folder's config call its classes so."""
    content = json.loads((folder / "config.json").read_text())
    content["id2label"] = {str(number): name for number, name in enumerate(names)}
    content["label2id"] = {name: number for number, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def save_outcome(folder: Path) -> Path:
    tokenizer = byte_level("llama3", bos=True)
    config = LlamaConfig(**sizes(tokenizer), num_labels=1)
    return _saved_by_transformers(folder, AutoModelForSequenceClassification, config, tokenizer)


@torch.inference_mode()
def outcome_card(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """As the cards of reward models for sequence classification: the answer up to each step as if it ended there."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    scores = []
    for count in range(1, len(steps) + 1):
        said = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": "".join(steps[:count])},
        ]
        text = tokenizer.apply_chat_template(said, tokenize=False)
        ids = tokenizer.encode(text, add_special_tokens=False)
        scores.append(float(torch.sigmoid(model(torch.tensor([ids])).logits[0, 0])))
    return scores


def save_qwen_rm(folder: Path) -> Path:
    tokenizer = byte_level("chatml", bos=False)
    heads = {
        "score.0.weight": (WIDTH, WIDTH),
        "score.0.bias": (WIDTH,),
        "score.2.weight": (1, WIDTH),
        "score.2.bias": (1,),
    }
    return save(folder, Qwen2Config(**sizes(tokenizer)), tokenizer, heads, "Qwen2ForRewardModel")


def qwen_rm_card(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """Model card of Qwen/Qwen2.5-Math-RM-72B: one value at the last token, here as a chance by the sigmoid."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    scores = []
    for count in range(1, len(steps) + 1):
        said = [
            {
                "role": "system",
                "content": "Please reason step by step, and put your final answer within \\boxed{}.",
            },
            {"role": "user", "content": question},
            {"role": "assistant", "content": "".join(steps[:count])},
        ]
        text = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=False)
        last = hidden_states(folder, tokenizer.encode(text))[-1]
        inner = torch.relu(weights["score.0.weight"] @ last + weights["score.0.bias"])
        scores.append(float(torch.sigmoid(weights["score.2.weight"] @ inner + weights["score.2.bias"])))
    return scores


def save_judge(folder: Path) -> Path:
    tokenizer = byte_level("chatml", bos=False)
    return save(folder, Qwen2Config(**sizes(tokenizer)), tokenizer, {}, "Qwen2ForCausalLM", vocabulary=True)


def judge_by_hand(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """A chat model's chance of Yes against No as the first token of its answer, asked about the steps up to each."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    yes, no = (tokenizer.encode(word)[0] for word in ("Yes", "No"))
    scores = []
    for count in range(1, len(steps) + 1):
        text = (
            f"Question:\n{question}\n\nSolution so far:\n{''.join(steps[:count])}\n\n"
            "Is every step of this solution so far correct? Answer with one word, Yes or No."
        )
        asked = [{"role": "user", "content": text}]
        ids = tokenizer.encode(
            tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        )
        scores.append(float(_logits(folder, ids)[-1, [yes, no]].softmax(dim=-1)[0]))
    return scores


@dataclass(frozen=True, slots=True)
class Public:
    """One family: how a checkpoint is saved, and its reference; `told` says that a folder tells its family."""

    name: str
    save: Callable[[Path], Path]
    reference: Reference
    told: bool = True

    def give_head(self, folder: Path, direction: Tensor, middle: float) -> None:
        """Have the head say good of hidden states along a direction beyond `middle`, by the card's order of classes."""
        file = folder / (REWARD_HEAD if (folder / REWARD_HEAD).is_file() else "model.safetensors")
        weights = load_file(file)
        d = direction
        if "score.0.weight" in weights:
            weights["score.0.weight"].zero_()[:2] = torch.stack((d, -d))
            weights["score.0.bias"].zero_()[:2] = torch.tensor([-middle, middle])
            classes = [[-1.0, 1.0], [1.0, -1.0]] if len(weights["score.2.weight"]) == 2 else [[2.0, -2.0]]
            weights["score.2.weight"].zero_()[:, :2] = torch.tensor(classes)
            weights["score.2.bias"].zero_()
        elif "v_head.summary.weight" in weights:
            weights["v_head.summary.weight"][0], weights["v_head.summary.bias"][0] = d, -middle
        elif "reward_head.weight" in weights:
            weights["reward_head.weight"][0], weights["reward_head.bias"][0] = d, -middle
        elif "score.bias" in weights:
            weights["score.weight"][:] = torch.stack((-d, d))
            weights["score.bias"][:] = torch.tensor([middle, -middle])
        elif "score.weight" in weights:
            weights["score.weight"][0] = d
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            words = ("Yes", "No") if self.name == "judge" else ("+", "-")
            good, bad = (tokenizer.encode(word)[0 if self.name == "judge" else -1] for word in words)
            weights["lm_head.weight"][good], weights["lm_head.weight"][bad] = d, -d
        save_file(weights, file, {"format": "pt"})


PUBLIC = {
    one.name: one
    for one in (
        Public("qwen_math_prm", save_qwen, qwen_card),
        Public("reasonflux_prm", save_qwen, reasonflux_card, told=False),
        Public("reasonflux_prm_1_5b", save_reasonflux_small, reasonflux_small_script),
        Public("math_shepherd", save_shepherd, shepherd_card, told=False),
        Public("rlhflow_prm", save_rlhflow, rlhflow_script, told=False),
        Public("skywork_prm", save_skywork, skywork_script),
        Public("trl_prm", save_trl, trl_script),
        Public("outcome", save_outcome, outcome_card),
        Public("qwen_math_rm", save_qwen_rm, qwen_rm_card),
        Public("judge", save_judge, judge_by_hand, told=False),
    )
}


class Family:
    """A family's engine with its wording, asked as a run asks it."""

    def __init__(self, wording: Wording, engine: VerifierEngine) -> None:
        self.wording, self.engine = wording, engine

    async def told(self, reading: Reading) -> Scores:
        return await self.engine.score(ScoreRequest(reading.ids, reading.start, reading.ends))

    def readings(self, question: str, steps: Sequence[str]) -> list[Reading]:
        if not self.wording.alone:
            return [self.wording.read(question, steps)]
        return [self.wording.read(question, steps[:count]) for count in range(1, len(steps) + 1)]

    async def scores(self, question: str, steps: Sequence[str]) -> list[float]:
        told = await asyncio.gather(*map(self.told, self.readings(question, steps)))
        return [value for scores in told for value in scores.values]
