"""What is appended to the commands of the docs so that a test can run them: fewer problems, smaller models.

Invariant: a command that needs nothing stands nowhere here, and is run as its page shows it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Smaller:
    """Words that are appended to a command, which a later word overrides, and why it does not run as it stands."""

    words: str
    why: str


MINUTES = "its full size takes minutes"
SECONDS = "its full size takes a quarter of a minute"
HOURS = "its full size takes an hour"
NO_GPU = "a GPU, or two, are not to be had everywhere"
OWN = "/models/mine stands for a reader's model; this one knows arithmetic, and its lines end in one newline"
ON_VLLM = "policy.engine=vllm cluster.policy.device=cpu cluster.policy.max_sequences=64"
SMALL_RUN = "flopwise evaluate 'strategies=[greedy,majority(n=16),beam(n=16,width=4)]' dataset.count=50 folder=runs/small"

PLAIN = (
    "flopwise train prm runs/plain/model training.language_weight=0 training.likelihood=false training.width=0 "
    "training.train_backbone=true"
)
FEW = "dataset.count=2 report=table"
"""Figures are drawn of the main job, and where a page asks for a report."""
OWN_RUN = (
    "flopwise evaluate dataset=table dataset.path=problems.jsonl policy=chat policy.path=/models/mine verifier=none "
    "folder=runs/own 'strategies=[greedy,majority(n=8)]'"
)
SWEEP = "dataset.count=50 'strategies=[best_of_n(n=4),beam(n=4)]' plan.orders=1"
POLICY = "problems=200 tokenizer_problems=200 validation_problems=10 vocabulary=300 shape.layers=1"
EPOCHS_ALONE = "training.language_epochs=1 training.value_epochs=1 training.held_out_share=0.3"
EPOCHS = f"replicas=1 {EPOCHS_ALONE}"

PARTS = (
    "'parts=[{problems: 16, seed: 1, strategy: majority(n=2), use: language}, "
    """{problems: 12, seed: 2, strategy: "monte_carlo(samples=3,rollouts=2)", use: value}]'"""
)
REVISED = "training.epochs=1 training.evaluations=1 training.held_out_share=0.3"
REVISER = f"'parts=[{{problems: 16, seed: 1, strategy: majority(n=4)}}]' replicas=1 {REVISED}"
PART = """'parts=[{problems: 12, seed: 1, strategy: "monte_carlo(samples=3,rollouts=2)"}]'"""

SMALLER = {
    "flopwise evaluate": Smaller("dataset.count=2", MINUTES),
    "flopwise evaluate budget.flops=1e11 folder=runs/tight": Smaller(FEW, MINUTES),
    "flopwise evaluate budget.flops=1e12 plan=null folder=runs/all": Smaller(FEW, MINUTES),
    "flopwise evaluate budget.flops=1e11 folder=runs/priced": Smaller(FEW, MINUTES),
    "flopwise calibrate domain=countdown ": Smaller(f"{SWEEP} folder=runs/calibrate", MINUTES),
    "flopwise evaluate 'strategies=[compute_optimal(plan='\"'\"'plan.yaml'\"'\"')]' budget.flops=1e12 ": Smaller(
        FEW, MINUTES
    ),
    "flopwise evaluate 'seeds=[0,1,2]' folder=runs/seeds": Smaller(FEW, MINUTES),
    SMALL_RUN: Smaller(FEW, MINUTES),
    "flopwise evaluate 'strategies=[greedy,majority(n=64),beam(n=16,width=4)]' dataset.count=100 folder=runs/small": Smaller(
        "dataset.count=3 report=table", MINUTES
    ),
    "flopwise evaluate 'strategies=[best_of_n(n=16)]' dataset.count=50 folder=runs/other 'reuse=[runs/small]'": Smaller(
        FEW, MINUTES
    ),
    "flopwise evaluate folder=runs/long dataset.count=600 ": Smaller("dataset.count=3 report=table", MINUTES),
    "flopwise evaluate folder=runs/strategies dataset.count=600 ": Smaller(
        f"{FEW} cluster.policy.replicas=1", HOURS
    ),
    "flopwise evaluate folder=runs/revisions dataset.count=1000 ": Smaller(FEW, MINUTES),
    OWN_RUN: Smaller("policy.path=models/mine 'policy.delimiter=\"\\n\"' report=table", OWN),
    "flopwise evaluate cluster=gpu cluster.policy.memory=0.25 ": Smaller(
        "cluster.policy.gpus=0 cluster.policy.device=cpu cluster.verifier.gpus=0 cluster.verifier.device=cpu dataset.count=2",
        NO_GPU,
    ),
    "flopwise doctor policy=chat policy.path=/models/mine ": Smaller(
        "folder=runs/looked_at policy.path=models/mine 'policy.delimiter=\"\\n\"'", OWN
    ),
    "flopwise doctor cluster=gpu ": Smaller(
        "folder=runs/looked_at cluster.policy.gpus=0 cluster.policy.device=cpu cluster.verifier.gpus=0 "
        "cluster.verifier.device=cpu",
        NO_GPU,
    ),
    "flopwise evaluate dataset=math500 dataset.path=test.jsonl ": Smaller(
        "policy.path=models/mine report=table", OWN
    ),
    "flopwise evaluate dataset=table dataset.path=choices.jsonl ": Smaller(
        "policy.path=models/mine report=table", OWN
    ),
    "flopwise evaluate policy.engine=vllm verifier.engine=vllm folder=runs/vllm": Smaller(FEW, MINUTES),
    "flopwise evaluate cluster=gpu policy=chat ": Smaller(
        f"{ON_VLLM} policy.path=models/mine 'policy.delimiter=\"\\n\"' policy.dtype=float32 dataset.count=2 "
        "cluster.policy.gpus=0 cluster.policy.tensor_parallel=1",
        f"{NO_GPU}; {OWN}",
    ),
    "flopwise evaluate cluster=gpu cluster.policy.replicas=2 ": Smaller(
        f"{ON_VLLM} verifier.engine=vllm dataset.count=2 cluster.policy.gpus=0 cluster.verifier.gpus=0 "
        "cluster.verifier.device=cpu cluster.policy.memory=null cluster.verifier.memory=null "
        "cluster.policy.replicas=1 --dry-run",
        f"{NO_GPU}; without one it is the command without `cluster=gpu`",
    ),
    "flopwise evaluate domain=arithmetic folder=runs/arithmetic": Smaller(FEW, MINUTES),
    "flopwise evaluate 'cluster.packages=[mine]' ": Smaller("dataset.count=3 report=table", SECONDS),
    "flopwise calibrate": Smaller(SWEEP, MINUTES),
    "flopwise calibrate 'strategies=[best_of_n(n=16),beam(n=4)]' dataset.count=100 folder=runs/quick": Smaller(
        f"{SWEEP} folder=runs/calibrate", MINUTES
    ),
    "flopwise calibrate dataset.count=600 ": Smaller(SWEEP, MINUTES),
    "flopwise evaluate folder=runs/test dataset.count=600 ": Smaller(
        "dataset.count=50 'strategies=[best_of_n(n=4),beam(n=4)]'", MINUTES
    ),
    "flopwise compare-allocators runs/calibrate": Smaller("orders=1 budgets=[1e9]", SECONDS),
    "flopwise compare-allocators runs/test known=runs/calibrate": Smaller("orders=1 budgets=[1e9]", SECONDS),
    "flopwise whatif runs/calibrate": Smaller("orders=1", SECONDS),
    "flopwise whatif runs/calibrate 'strategies=[best_of_n(n=32)]' cells=3": Smaller(
        "'strategies=[best_of_n(n=4)]'", "the sweep that a test makes has few samples"
    ),
    "flopwise difficulty runs/calibrate prompt=true": Smaller(
        "prompt=false", "only some verifiers were trained to judge a prompt"
    ),
    "flopwise difficulty runs/test prompt=true": Smaller(
        "prompt=false", "only some verifiers were trained to judge a prompt"
    ),
    "flopwise train policy runs/policy": Smaller(POLICY, MINUTES),
    "flopwise train policy runs/sums domain=arithmetic": Smaller(POLICY, MINUTES),
    "flopwise train policy runs/countdown/policy domain=countdown": Smaller(POLICY, MINUTES),
    "flopwise train prm runs/countdown/prm domain=countdown policy=runs/countdown/policy ": Smaller(
        f"policy=bundled/countdown {PART} {EPOCHS}", f"{HOURS}; a policy that is smaller is never right"
    ),
    "flopwise evaluate domain=countdown policy.path=runs/countdown/policy verifier.path=runs/countdown/prm ": Smaller(
        f"policy.path=bundled/countdown {FEW}", MINUTES
    ),
    "flopwise evaluate domain=countdown policy.path=runs/countdown/policy verifier=none reviser=folder ": Smaller(
        f"policy.path=bundled/countdown {FEW} 'strategies=[revision(sequential=2,parallel=2,select=majority)]'",
        MINUTES,
    ),
    "flopwise train policy runs/tiny problems=5000 shape.width=64": Smaller(POLICY, MINUTES),
    "flopwise train prm runs/prm/model": Smaller(f"{PARTS} {EPOCHS}", HOURS),
    PLAIN: Smaller(f"{PARTS} {EPOCHS}", HOURS),
    "flopwise train prm runs/few/model runs=runs/few 'parts=[{problems: 200, ": Smaller(
        f"{PART} {EPOCHS}", MINUTES
    ),
    "flopwise train reviser runs/reviser/model": Smaller(REVISER, HOURS),
    "flopwise train reviser runs/countdown/reviser domain=countdown policy=runs/countdown/policy ": Smaller(
        f"policy=bundled/countdown {REVISER}", f"{HOURS}; a policy that is smaller is never right"
    ),
    "flopwise train reviser runs/few/reviser ": Smaller(REVISER, MINUTES),
    "flopwise train reviser runs/mine/reviser policy=/models/mine dataset=gsm_symbolic ": Smaller(
        f"policy=models/mine chat=false 'prompt=\"{{question}}\\n\"' dataset=arithmetic {REVISER}",
        f"{MINUTES}; {OWN}",
    ),
    "flopwise train reviser runs/rest/model ": Smaller(REVISED, MINUTES),
    "flopwise train orm runs/orm/model ": Smaller(EPOCHS_ALONE, MINUTES),
    "flopwise train orm runs/orm/plain ": Smaller(EPOCHS_ALONE, MINUTES),
    "flopwise train prm runs/mine/model policy=/models/mine dataset=gsm_symbolic ": Smaller(
        f"policy=models/mine dataset=arithmetic system=null 'delimiter=\"\\n\"' {PART} {EPOCHS}",
        f"{MINUTES}; {OWN}",
    ),
}
"""By the command as a page shows it; a key that ends in a space is the beginning of one, cut where the rest says nothing."""

THROUGH_RAY = {
    "flopwise evaluate",
    "flopwise evaluate folder=runs/strategies dataset.count=600 ",
    OWN_RUN,
    "flopwise calibrate",
    "flopwise train prm runs/prm/model",
    *(command for command, one in SMALLER.items() if "engine=vllm" in command + one.words),
}
"""Those whose actors are in processes of their own: the main job, every strategy, a model of the reader's, each command that
draws, and what is on vLLM."""

SCRIPTS = {"    count=20,\n": "    count=3,\n", "    count=10,\n": "    count=3,\n"}
"""What is replaced in scripts, so that they have fewer problems."""


def smaller(command: str) -> tuple[str, Smaller] | None:
    """What is appended to a command, with its key."""
    found = [
        (key, one)
        for key, one in SMALLER.items()
        if command == key or (key.endswith(" ") and command.startswith(key))
    ]
    assert len(found) < 2, command
    return found[0] if found else None
