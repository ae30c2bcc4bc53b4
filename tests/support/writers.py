"""A policy that writes whole texts that it is given, one of them at random, and ends: for solutions that no small model
writes.

Each text is one token of its vocabulary. The weights say that one of them follows a prompt, all as likely, and the end
token one of them; nothing else can be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_WIDTH = 8
_SURE = 40.0


def make_writer(folder: Path, texts: Sequence[str], context: int = 2_048) -> Path:
    """Write such a policy into a folder; return the folder."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={one: place for place, one in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts])
    end, written = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(list(texts))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=end,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.model.norm.weight.fill_(1.0)
        # What was read last: a prompt, or a text.
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.model.embed_tokens.weight[written, :2] = torch.tensor([0.0, 1.0])
        model.lm_head.weight[written, 0] = _SURE
        model.lm_head.weight[end, 1] = _SURE
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
