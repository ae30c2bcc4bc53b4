"""Muon for matrices and AdamW for the rest, as one optimizer that a Trainer can save and resume.

It knows nothing of models beyond the shapes and names of their parameters. Invariant: the same gradients give
the same steps, whether or not the state went through `state_dict` in between.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". torch.optim.Muon takes
matrices only and one at a time, in bfloat16; here equal shapes are orthogonalised in one batch, in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315
_MOMENTUM = 0.95
_BETAS = (0.9, 0.95)
_EPSILON = 1e-8


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return the nearest semi-orthogonal matrices of a (batch, rows, columns) stack, singular values about 1.

    Five steps of the quintic Newton-Schulz iteration: exact enough for a step, and matrix products only.
    """
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if wide else x.mT  # type: ignore[no-any-return]


class MuonAdamW(torch.optim.Optimizer):
    """Muon on every hidden matrix; AdamW (no decay) on embeddings, output head, norms and biases."""

    def __init__(self, model: nn.Module, muon_lr: float, adamw_lr: float) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            hidden = parameter.ndim == 2 and id(parameter) not in embeddings and "lm_head" not in name
            (matrices if hidden else others).append(parameter)
        groups = [
            {"params": matrices, "lr": muon_lr, "muon": True},
            {"params": others, "lr": adamw_lr, "muon": False},
        ]
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step of every group at its own learning rate."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            (self._muon if group["muon"] else self._adamw)(group)
        return loss

    def _muon(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[parameter.shape].append(parameter)
        for shape, parameters in by_shape.items():
            updates = []
            for parameter in parameters:
                assert parameter.grad is not None
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum: Tensor = state["momentum"]
                momentum.lerp_(parameter.grad, 1 - _MOMENTUM)
                updates.append(parameter.grad.lerp(momentum, _MOMENTUM))  # Nesterov
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, update in zip(parameters, orthogonalise(torch.stack(updates)), strict=True):
                parameter.add_(update, alpha=-group["lr"] * scale)

    def _adamw(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if "step" not in state:
                state["step"] = 0
                state["mean"] = torch.zeros_like(parameter)
                state["square"] = torch.zeros_like(parameter)
            state["step"] += 1
            state["mean"].lerp_(parameter.grad, 1 - _BETAS[0])
            state["square"].mul_(_BETAS[1]).addcmul_(parameter.grad, parameter.grad, value=1 - _BETAS[1])
            mean = state["mean"] / (1 - _BETAS[0] ** state["step"])
            square = state["square"] / (1 - _BETAS[1] ** state["step"])
            parameter.addcdiv_(mean, square.sqrt().add_(_EPSILON), value=-group["lr"])
