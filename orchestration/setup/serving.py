"""A policy behind an address: settings that go together, and what its server says before anything is spent.

It asks the server over HTTP, with a token or two, and knows nothing of runs. Invariant: what a server cannot do is refused by
the setting that asks it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from actors.engines.folder_files import read_settings
from actors.engines.plan import Server
from actors.errors import UserError
from actors.strategy import ROLES
from orchestration.setup.model_folders import ModelFolder
from orchestration.setup.settings import EvaluateSettings, PolicySettings

if TYPE_CHECKING:
    from actors.engines.http.greeting import Served

_VARIABLE = re.compile(r"[A-Za-z_]\w*")


def check_served(settings: EvaluateSettings) -> None:
    """Raise UserError for settings of a server that do not go together."""
    for role in ROLES:
        if role != "policy" and getattr(settings, role).engine == "http":
            mend = (
                f"only a policy can be behind an address: set {role}.engine=local or vllm, or leave it auto"
            )
            raise UserError.of(f"{role}.engine", "http", mend)
    given = settings.policy
    if given.engine != "http":
        for name in ("url", "model", "key_variable"):
            if (value := getattr(given, name)) is not None:
                mend = (
                    f"policy.engine={given.engine} asks no server: set policy.engine=http, or leave it null"
                )
                raise UserError.of(f"policy.{name}", value, mend)
        return
    _check_url(given.url)
    if given.key_variable is not None and not _VARIABLE.fullmatch(given.key_variable):
        # Never shown: it may be the key itself.
        mend = "it is the name of the environment variable that holds the key, as in VLLM_API_KEY, and not the key"
        raise UserError.of("policy.key_variable", "...", mend)
    if given.timeout < 1:
        raise UserError.of("policy.timeout", given.timeout, "it must be at least 1")
    for name, usual in (("gpus", 0.0), ("device", "auto"), ("tensor_parallel", 1), ("memory", None)):
        value = getattr(settings.cluster.policy, name)
        if value != usual and value != "cpu":
            to = "null" if usual is None else f"{usual:g}" if isinstance(usual, float) else usual
            mend = f"the model runs behind policy.url, and its replicas here only ask: set cluster.policy.{name}={to}"
            raise UserError.of(f"cluster.policy.{name}", value, mend)


def _check_url(url: str | None) -> None:
    example = "as in policy.url=http://10.0.0.1:8000/v1"
    if url is None:
        raise UserError.of(
            "policy.url", None, f"policy.engine=http asks a server: give its address, {example}"
        )
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment:
        raise UserError.of("policy.url", url, f"give the address of an OpenAI-compatible server, {example}")
    if parts.username or parts.password:
        mend = "it would stand in the run's folder with its password: name the variable of a key by policy.key_variable"
        raise UserError.of("policy.url", f"{parts.scheme}://...@{parts.hostname}", mend)


def server_of(given: PolicySettings) -> Server | None:
    """The server of a policy's settings; None where none is asked."""
    if given.engine != "http" or given.url is None:
        return None
    return Server(given.url.rstrip("/"), given.model, given.key_variable, given.timeout, given.likelihoods)


def ask_server(settings: EvaluateSettings, folder: ModelFolder, server: Server) -> Served:
    """What the server of a policy says of itself. Raises UserError where it is not there, serves another model, or cannot do
    what the settings ask."""
    # Loads an HTTP client.
    from actors.engines.http.greeting import greet

    config = read_settings(folder.path, "config.json", "policy.path")
    rows = config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))
    vocabulary = rows if isinstance(rows, int) else max(folder.vocabulary.values()) + 1
    try:
        served = greet(server, folder.path, vocabulary, folder.context)
    except ConnectionError as error:
        why = str(error).removeprefix(f"{server.url}: ")
        mend = f"no answer from there ({why}): start the server, or mend the address"
        raise UserError.of("policy.url", server.url, mend) from None
    except UserError as error:
        # Named as its user did.
        raise UserError(str(error).replace(repr(str(folder.path)), repr(settings.policy.path), 1)) from None
    if settings.budget.unit == "exact" and not served.tells_cached:
        mend = (
            "exact FLOPs leave out what came from a cache, which the server does not tell: start vLLM with "
            "--enable-prompt-tokens-details, or set budget=paper"
        )
        raise UserError.of("budget.unit", settings.budget.unit, mend)
    return served
