"""Whether a model runs on slots as it does by itself: two short rows of different length, against transformers' own pass.

It knows no families. Invariant: an architecture that reads what slots cannot give it (a state that is no keys and values,
positions told from the mask, keys of another width) is refused by name as it is loaded, and gives no number.
"""

from __future__ import annotations

from typing import Any

import torch

from actors.errors import UserError

_LENGTHS = (7, 3)

_TOLERANCE = {torch.float32: 1e-3}
"""How far logits may be apart, as a share of the largest; in lower precision 0.1."""


@torch.inference_mode()
def check_on_slots(
    decoder: Any, model: Any, kind: str, dtype: torch.dtype, device: torch.device, way_out: str
) -> None:
    """Raise UserError of the model's `kind` where the rows of a batch differ from what `model` makes of each alone."""
    longest = max(_LENGTHS)
    mend = f"the local engine does not run this architecture as transformers does{{}}: {way_out}"
    try:
        tokens = _tokens(model, device)
        alone = rows_alone(model, device)
        cache = decoder.new_cache(3)
        starts = torch.zeros(2, dtype=torch.long, device=device)
        decoder.forward(tokens[:, :-1], starts, cache, 1, longest - 1)
        last = torch.tensor([length - 1 for length in _LENGTHS], device=device)
        hidden = decoder.forward(tokens.gather(1, last[:, None]), last, cache, 1, longest)
        together = decoder.logits(hidden[:, 0])
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        why = f" ({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''})"
        raise UserError.of("model_type", kind, mend.format(why[:200])) from None
    for expected, found in zip(alone, together, strict=True):
        apart = (expected - found).abs().max() / expected.abs().max().clamp(min=1e-6)
        if not apart <= _TOLERANCE.get(dtype, 0.1):
            raise UserError.of("model_type", kind, mend.format(""))


@torch.inference_mode()
def rows_alone(model: Any, device: torch.device) -> list[torch.Tensor]:
    """Logits of the last token of each row, by transformers' own pass."""
    return [
        model(input_ids=row[None, :length], use_cache=False).logits[0, -1].float()
        for row, length in zip(_tokens(model, device), _LENGTHS, strict=True)
    ]


def _tokens(model: Any, device: torch.device) -> torch.Tensor:
    longest = max(_LENGTHS)
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    return (torch.arange(2 * longest, device=device).reshape(2, longest) * 7 + 3) % vocabulary
