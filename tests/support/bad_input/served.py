"""A policy behind an address: settings that do not go together, and real servers that are not there or another model's."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.bad_input.cases import Words, case, evaluate
from tests.support.places import MODELS
from tests.support.served import shared_server

FAR = "policy.url=http://10.0.0.1:8000/v1"


def at(url: str, *more: str) -> Words:
    return evaluate("policy.engine=http", f"policy.url={url}", "strategies=[greedy]", *more)


def served(*more: str, **told: object) -> Words:
    """A policy behind a server that does as it is told."""
    return at(shared_server().serve("policy", Path("policy").resolve(), **told), *more)


@case
def no_url() -> Words:
    """an engine behind an address, and none given"""
    return evaluate("policy.engine=http")


@case
def url_unasked() -> Words:
    """a server's address without its engine"""
    return evaluate(FAR)


@case
def no_address_of_a_server() -> Words:
    """an address of a server that is none"""
    return at("localhost:8000")


@case
def password() -> Words:
    """a password in a server's address"""
    return at("http://me:mine@10.0.0.1:8000/v1")


@case
def key_itself() -> Words:
    """a server's key where the name of its variable belongs"""
    return at("http://10.0.0.1:8000/v1", "policy.key_variable=sk-0123")


@case
def no_key() -> Words:
    """a server's key that is not there"""
    os.environ.pop("NO_SUCH_KEY", None)
    return at("http://10.0.0.1:8000/v1", "policy.key_variable=NO_SUCH_KEY")


@case
def other_role() -> Words:
    """a verifier behind an address"""
    return evaluate("verifier.engine=http")


@case
def gpus_of_a_server() -> Words:
    """GPUs for a policy behind an address"""
    return at("http://10.0.0.1:8000/v1", "cluster.policy.gpus=1")


@case
def nobody_there() -> Words:
    """a server that is not there"""
    return at("http://127.0.0.1:1/v1")


@case
def failing_server() -> Words:
    """a server that fails at its first request"""
    return served(faults=["500"])


@case
def no_server() -> Words:
    """an address that is no OpenAI-compatible server's"""
    return [word.removesuffix("/v1") if word.startswith("policy.url") else word for word in served()]


@case
def no_ids() -> Words:
    """a server that tells no token ids"""
    return served(faults=["no_ids"])


@case
def asks_for_a_key() -> Words:
    """a server that asks for a key"""
    return served(wants="secret")


@case
def wrong_key() -> Words:
    """a key that a server refuses"""
    os.environ["SERVER_KEY"] = "other"
    return served("policy.key_variable=SERVER_KEY", wants="secret")


@case
def another_name() -> Words:
    """a model that the server does not have"""
    return served("policy.model=polcy")


@case
def several() -> Words:
    """a server with several models, and none named"""
    return served(served=["policy", "tuned"])


@case
def other_tokenizer() -> Words:
    """a server with another model than the folder's"""
    return at(shared_server().serve("policy", MODELS / "policy"))


@case
def untold_cache() -> Words:
    """exact FLOPs of a server that does not tell what came from its cache"""
    return served("budget=exact", hides_cached=True)
