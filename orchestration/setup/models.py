"""The models of a run by role: found, fitting one another, with what their tokens cost and which engine runs them.

It reads configs and tokenizers, and knows nothing of Ray or torch. Invariant: a role that no strategy asks has no model here,
and what only another engine heeds is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actors.engines.base import EngineName
from actors.engines.plan import ReplicaShare, Server
from actors.engines.verifiers.custom import Target
from actors.engines.verifiers.families.base import Wording
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.weights import check_unquantised
from actors.errors import UserError, counted
from actors.strategy import Role, Strategy, asked_by
from orchestration.flops import ModelCost, paper_alone
from orchestration.setup.custom_verifier import read_own
from orchestration.setup.engine_choice import choose_engine
from orchestration.setup.model_folders import ModelFolder, is_bundled, read_model
from orchestration.setup.public_verifier import check_public, is_public, read_public
from orchestration.setup.serving import ask_server, server_of
from orchestration.setup.settings import EvaluateSettings
from orchestration.strategies.revision.revision import Revision


@dataclass(frozen=True, slots=True)
class ModelSetup:
    """One model. `path` has its files, or is the policy's folder where a verifier of the user's own (`target`) loads none;
    `tokenizer` is the folder of the token ids that it is asked about; `context` is in tokens, None: not known. A public
    verifier is of a `family`, and its `wording` the one that was read with it. A `server` that runs it serves it by the name
    `served`, and `tells_cached` where it says what came from its cache."""

    path: Path
    tokenizer: Path
    cost: ModelCost
    context: int | None
    engine: EngineName
    dtype: str
    share: ReplicaShare
    target: Target | None = None
    family: ChosenFamily | None = None
    wording: Wording | None = field(default=None, compare=False, repr=False)
    server: Server | None = None
    served: str = ""
    tells_cached: bool = True

    @property
    def name(self) -> str:
        """What a reader knows the model by."""
        return self.target.text if self.target else str(self.path)


def too_long_for(verifier: ModelSetup | None, questions: Iterable[str], most: int) -> str:
    """What is to say where a public verifier's own tokens and context leave no room for a solution of `most` tokens behind
    the longest of these questions; empty where they do."""
    if verifier is None or verifier.wording is None or verifier.context is None:
        return ""
    prompt = len(verifier.wording.read(max(questions, key=len, default=""), ()).ids)
    if prompt + most <= verifier.context:
        return ""
    return (
        f"in the verifier's own tokens the longest question has {prompt:,}, and a solution of policy.max_tokens = {most:,} "
        f"about as many as in the policy's: they exceed its context of {verifier.context:,}, and solutions of that length "
        "fail unscored; lower policy.max_tokens"
    )


def costs_of(models: Mapping[Role, ModelSetup]) -> dict[Role, ModelCost]:
    """What a token costs, by role."""
    return {role: model.cost for role, model in models.items()}


def read_policy(settings: EvaluateSettings, strategies: Sequence[Strategy]) -> ModelFolder:
    """The policy's folder, checked. Raises UserError where it is no model, and where a strategy asks a verifier or a reviser
    and there is none."""
    check_asked(settings, strategies)
    return _read_policy(settings)


def _read_policy(settings: EvaluateSettings) -> ModelFolder:
    # Behind an address the weights are the server's.
    return read_model(
        settings.policy.path,
        "policy",
        chat=settings.policy.prompt.chat,
        weights=settings.policy.engine != "http",
    )


def check_asked(settings: EvaluateSettings, strategies: Sequence[Strategy]) -> None:
    """Raise UserError where a strategy asks a verifier or a reviser and there is none."""
    _check_revisers(settings, strategies)
    needing = [strategy.text for strategy in strategies if strategy.uses_verifier]
    if needing and settings.verifier.measure is not None:
        _check_told(settings)
    elif needing and settings.verifier.path is None and settings.verifier._target_ is None:
        other = [strategy.text for strategy in strategies if not strategy.uses_verifier]
        other = other or [_without_verifier(strategies[0])]
        mend = (
            f"{', '.join(needing)} {'needs' if len(needing) == 1 else 'need'} a verifier: choose one (verifier=folder "
            f"verifier.path=...), or go without, as in strategies=[{','.join(other)}]"
        )
        raise UserError.of("verifier.path", None, mend)


def _check_told(settings: EvaluateSettings) -> None:
    if settings.verifier.measure == "mean_logprob" and not settings.policy.likelihoods:
        mend = "the verifier is the policy's own confidence, told from them: leave it true, or choose another one"
        raise UserError.of("policy.likelihoods", False, mend)


def _without_verifier(strategy: Strategy) -> str:
    """What asks no verifier, and is near to what a strategy does."""
    return replace(strategy, select="majority").text if isinstance(strategy, Revision) else "greedy"


def _check_revisers(settings: EvaluateSettings, strategies: Sequence[Strategy]) -> None:
    revising = [strategy.text for strategy in strategies if "reviser" in asked_by(strategy)]
    if revising and settings.reviser.path is None:
        mend = (
            f"{', '.join(revising)} {'needs' if len(revising) == 1 else 'need'} a reviser: choose one (reviser=folder "
            "reviser.path=..., or reviser=chat for a chat model that was not trained to revise)"
        )
        raise UserError.of("reviser.path", None, mend)


def notes_of(
    settings: EvaluateSettings, policy: ModelFolder, models: Mapping[Role, ModelSetup]
) -> tuple[str, ...]:
    """What a user should know of the models before anything is spent, though nothing is wrong with them."""
    notes = []
    if policy.has_chat_template and not settings.policy.prompt.chat:
        notes.append(
            "policy.prompt.chat is false, and the policy's tokenizer has a chat template: a model that was tuned with it "
            "answers badly without; policy=chat uses it"
        )
    if is_bundled(settings.policy.path) and settings.policy.prompt.shots:
        notes.append(
            "the bundled policy was trained on questions alone, and answers badly with worked examples before them: "
            "policy.prompt.shots is for models of yours"
        )
    if paper_alone(model.cost for model in models.values()):
        notes.append(
            "FLOPs are by the paper's accounting alone, 2 x parameters a token: flopwise has no closed form of the exact "
            "ones for these models"
        )
    judge = models.get("verifier")
    if judge is not None and judge.family is not None and (how := judge.family.thinking) is not None:
        often = (
            "once for each step, and reads what it wrote about the steps before; estimates count one score a solution, as if "
            "it had one step, of all that it may write"
            if judge.cost.stepwise
            else "once for a solution of best-of-N, once for each step of a search; estimates count one score a solution, of "
            "all that it may write"
        )
        notes.append(
            f"the verifier writes for each score ({counted(how.chains, 'text')} of up to {counted(how.tokens, 'token')}): "
            + often
        )
    if not models["policy"].tells_cached:
        notes.append(
            "the policy's server does not tell what came from its cache: exact FLOPs that were spent count each context as "
            "computed (vLLM tells it with --enable-prompt-tokens-details)"
        )
    run = models["policy"].context
    on_server = models["policy"].server is not None
    if policy.context is not None and run is not None and run < policy.context and not on_server:
        notes.append(
            f"the policy's positions depend on a text's length beyond {run:,} tokens (its RoPE scaling): the local engine "
            f"takes that as its context, of {policy.context:,}; vLLM takes all"
        )
    return tuple(notes)


def read_models(
    settings: EvaluateSettings, policy: ModelFolder, asked: Collection[Role]
) -> dict[Role, ModelSetup]:
    """The models by role, given the policy's folder: its own, for whose tokens and prompts all others are, and those that are
    `asked`. The policy's own confidence is a verifier without a model."""
    others: tuple[Role, ...] = (
        ("reviser",) if settings.verifier.measure is not None else ("reviser", "verifier")
    )
    models: dict[Role, ModelSetup] = {"policy": read_role("policy", settings, policy)}
    models |= {role: read_role(role, settings, policy) for role in others if role in asked}
    if not paper_alone(model.cost for model in models.values()):
        return models
    if settings.budget.unit == "exact":
        mend = "flopwise has no closed form of the exact FLOPs of these models: set budget=paper"
        raise UserError.of("budget.unit", settings.budget.unit, mend)
    return {role: replace(one, cost=replace(one.cost, exact_known=False)) for role, one in models.items()}


def read_role(role: Role, settings: EvaluateSettings, policy: ModelFolder | None) -> ModelSetup:
    """The set-up of one model, given the policy's folder; without it, a model of the others is looked at by itself, whether
    or not it reads the policy's tokens. Raises UserError."""
    if role == "verifier" and settings.verifier._target_ is not None:
        assert policy is not None
        return _own_verifier(settings, policy)
    if role == "policy":
        return _policy(settings, policy or _read_policy(settings))
    public = role == "verifier" and is_public(settings.verifier)
    return _public(settings, policy) if public else _beside(role, settings, policy)


def _policy(settings: EvaluateSettings, folder: ModelFolder) -> ModelSetup:
    given, share = settings.policy, settings.cluster.policy
    cost = _cost("policy.path", given.path, folder)
    engine = choose_engine(given.engine, "policy.engine", gpus=share.gpus, device=share.device)
    if (server := server_of(given)) is not None:
        served = ask_server(settings, folder, server)
        return ModelSetup(
            path=folder.path,
            tokenizer=folder.path,
            cost=cost,
            context=served.context or folder.context,
            engine=engine,
            dtype=given.dtype,
            share=share,
            server=server,
            served=served.model,
            tells_cached=served.tells_cached,
        )
    context = _runs_on(engine, folder, "policy", given.path)
    return ModelSetup(folder.path, folder.path, cost, context, engine, given.dtype, share)


_OTHER_TOKENS: dict[Role, str] = {
    "reviser": (
        "its tokenizer is not the policy's, in whose tokens prompts and attempts are: train one from this policy, or set "
        "policy.path to the model that it was trained from"
    ),
    "verifier": (
        "its tokenizer is not the policy's, whose token ids a verifier of flopwise's own reads: make one of this policy "
        "(flopwise train prm), take a public one (docs/models.md has the families), write one that decodes them "
        "(verifier=custom), or go without, as in verifier=none strategies=[greedy,majority(n=16)]"
    ),
}
"""What to say of a model with another tokenizer than the policy's."""


def _beside(role: Role, settings: EvaluateSettings, policy: ModelFolder | None) -> ModelSetup:
    """The set-up of a model that reads the policy's tokens."""
    given, share = getattr(settings, role), getattr(settings.cluster, role)
    assert given.path is not None
    folder = read_model(given.path, role)
    cost = _cost(f"{role}.path", given.path, folder)
    if policy is not None and not policy.reads_as(folder):
        raise UserError.of(f"{role}.path", given.path, _OTHER_TOKENS[role])
    engine = choose_engine(given.engine, f"{role}.engine", gpus=share.gpus, device=share.device)
    context = _runs_on(engine, folder, role, given.path)
    return ModelSetup(folder.path, folder.path, cost, context, engine, given.dtype, share)


def _runs_on(engine: EngineName, folder: ModelFolder, role: Role, named: str) -> int | None:
    """The model's context on an engine. Raises UserError where the local engine does not run its weights."""
    if engine != "local":
        return folder.context
    check_unquantised(folder.path, f"{role}.path", f"set {role}.engine=vllm", named)
    return folder.steady_context or folder.context


def _cost(field: str, given: str, folder: ModelFolder) -> ModelCost:
    """What a token costs; a model that nothing is known of is refused by the setting that named it."""
    try:
        return ModelCost.from_folder(folder.path)
    except UserError as error:
        raise (error if str(error).startswith(field) else UserError.of(field, given, str(error))) from None


def _public(settings: EvaluateSettings, policy: ModelFolder | None) -> ModelSetup:
    """The set-up of a public verifier, whatever its tokenizer."""
    given, share = settings.verifier, settings.cluster.verifier
    assert given.path is not None
    folder = read_model(given.path, "verifier")
    public = read_public(given, folder.path, None if policy is None else policy.path)
    engine = choose_engine(
        "local" if given.engine == "auto" else given.engine,
        "verifier.engine",
        gpus=share.gpus,
        device=share.device,
    )
    _runs_on(engine, folder, "verifier", given.path)
    return ModelSetup(
        path=folder.path,
        tokenizer=public.family.policy,
        cost=public.cost,
        context=public.context,
        engine=engine,
        dtype=given.dtype,
        share=share,
        family=public.family,
        wording=public.wording,
    )


def _own_verifier(settings: EvaluateSettings, policy: ModelFolder) -> ModelSetup:
    own = read_own(settings.verifier, policy.path)
    return ModelSetup(
        path=own.target.path or policy.path,
        tokenizer=policy.path,
        cost=own.cost,
        context=own.context,
        engine="local",
        dtype=settings.verifier.dtype,
        share=settings.cluster.verifier,
        target=own.target,
    )


def check_measure(measure: str | None, models: Mapping[Role, ModelSetup]) -> None:
    """Raise UserError for a measure of confidence that the engine of a model which draws does not tell."""
    for role, model in models.items():
        if measure == "self_certainty" and role != "verifier" and model.engine != "local":
            mend = (
                "it is told of the probabilities of all tokens of the vocabulary, which the local engine alone gives: set "
                f"{role}.engine=local (here {model.engine}), or verifier.measure=mean_logprob"
            )
            raise UserError.of("verifier.measure", measure, mend)


_HEEDS = {"tensor_parallel": "only vLLM", "memory": "no verifier of your own"}


def check_engines(settings: EvaluateSettings, models: dict[Role, ModelSetup]) -> None:
    """Raise UserError for what the engine of a model does not heed."""
    if models["policy"].engine == "local" and not settings.policy.reproducible:
        mend = "the local engine draws from seeds at no cost: leave it true, or set policy.engine=vllm"
        raise UserError.of("policy.reproducible", False, mend)
    usual = ReplicaShare()
    for role, model in models.items():
        for name in ("tensor_parallel", "memory"):
            value, normal = getattr(model.share, name), getattr(usual, name)
            heeded = model.engine == "vllm" or (name == "memory" and model.target is None)
            if heeded or value == normal:
                continue
            mend = f"{_HEEDS[name]} heeds it: leave it {'null' if normal is None else normal}"
            if model.target is None:
                mend += f", or set {role}.engine=vllm (this {role} runs on the local engine)"
            raise UserError.of(f"cluster.{role}.{name}", value, mend)


def check_loading(settings: EvaluateSettings, models: Mapping[Role, ModelSetup]) -> None:
    """Raise UserError for a model that its engine would refuse as it loads it, as far as config and headers tell: of vLLM,
    a verifier alone."""
    # Loads torch, which a run leaves to its replicas.
    from actors.engines.local.preview import check_folder
    from actors.engines.model_config import read_config
    from actors.engines.vllm.tails import MODELS, scored_as

    named = {role: getattr(settings, role).path for role in models}
    for role, model in models.items():
        if model.target is not None:
            continue
        try:
            if model.family is not None:
                if model.engine == "local":
                    check_public(model.family)
            elif model.engine == "local":
                kinds = read_config(model.path).architectures or ()
                on_vllm = role != "verifier" or any(kind in MODELS for kind in kinds)
                other = f"set {role}.engine=vllm, or " if on_vllm else ""
                check_folder(model.path, f"{other}take another model")
            elif role == "verifier":
                scored_as(model.path, read_config(model.path))
        except UserError as error:
            why = str(error)
            for what in ("model", role):
                # Told by the setting instead.
                why = why.removeprefix(str(UserError.of(what, str(model.path), "")))
            raise UserError.of(f"{role}.path", named[role], why) from None
