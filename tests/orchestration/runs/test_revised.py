"""Runs with a reviser: what is asked of whom, what a longer chain or another start costs, and what a report says of chains.

Everything but Ray is the real thing. The policy stands for a reviser, which nothing but its weights sets apart.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest
from transformers import AutoTokenizer

from actors.cluster import placement
from actors.errors import UserError
from orchestration.allocation.plan import read_plan
from orchestration.allocation.value_table import Offer
from orchestration.api import Run, settings_of
from orchestration.problems.revising import RevisionFormat
from orchestration.report.write import make_report
from orchestration.runs.estimate import estimate
from orchestration.runs.evaluation import evaluate
from orchestration.runs.identity import identify
from orchestration.runs.session import _parted, opened
from orchestration.setup.domains import folder_of
from orchestration.setup.prepare import Prepared, prepare
from orchestration.setup.settings import ReportSettings
from tests.support.here import ClusterHere
from tests.support.plans import plan_for

BOTH_TEXTS = ("revision(sequential=3,parallel=2)", "revision(sequential=3,parallel=2,select=majority)")
BOTH = ",".join(BOTH_TEXTS)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "Cluster", ClusterHere)


@pytest.fixture
def reviser(models: tuple[Path, Path]) -> list[str]:
    return [
        "reviser=folder",
        f"reviser.path={models[0]}",
        "cluster.reviser.cpus=0.5",
        "cluster.policy.cpus=0.5",
    ]


def prepared(words: list[str], folder: Path, strategies: str, *more: str) -> Prepared:
    return prepare(settings_of([*words, f"folder={folder}", f"strategies=[{strategies}]", *more]))


def keys(folder: Path) -> set[str]:
    return {row["key"] for row in Run(folder).outcomes().to_pylist()}


def test_a_reviser_joins_a_run_whose_other_outcomes_stay(
    words: list[str], reviser: list[str], tmp_path: Path
) -> None:
    evaluate(prepared(words, tmp_path, "greedy"))
    before = keys(tmp_path)
    run = evaluate(prepared(words, tmp_path, f"greedy,{BOTH}", *reviser))
    rows = run.outcomes().to_pylist()
    assert before < {row["key"] for row in rows}
    assert [row["state"] for row in rows] == ["answered"] * 18
    for row in rows:
        revised = row["strategy"].startswith("revision")
        assert (row["policy_tokens"] == 0) == revised
        assert row["generations"] == (6 if revised else 1)
    for role in ("policy", "reviser"):
        paid = sum(row[f"{role}_tokens"] for row in rows)
        assert sum(one[f"{role}_tokens"] for one in run.info["sessions"]) == paid > 0
    # Nothing is done twice; and without a reviser among its words it is the same folder.
    for more in ([], reviser):
        evaluate(prepared(words, tmp_path, "greedy", *more))
    assert keys(tmp_path) == {row["key"] for row in rows}
    info = json.loads((tmp_path / "run.json").read_text())
    assert info["models"].keys() == {"policy", "reviser", "verifier"}


def test_the_bundled_reviser_and_its_verifier_run_by_their_names(tmp_path: Path) -> None:
    words = ["dataset.count=4", "reviser=countdown", "verifier=countdown_orm"]
    words += ["cluster.reviser.cpus=0.5", "cluster.policy.cpus=0.5", "cluster.verifier.cpus=0.5"]
    chains = "revision(sequential=4,parallel=3)"
    run = evaluate(prepared(words, tmp_path, f"best_of_n(n=2),{chains}"))
    results = [one for one in run.results() if one.outcome["strategy"] == chains]
    assert len(results) == 4
    right = []
    for result in results:
        assert len(result.candidates) == 12
        # Each attempt was judged after those before it, one score a step.
        assert all(len(one["scores"]) == len(one["steps"]) for one in result.candidates)
        right += [one["correct"] for one in result.candidates]
    # It knows the task: a model that was not trained on it has none right.
    assert sum(right) > 0


def test_a_longer_chain_draws_what_is_new_of_it_alone(
    words: list[str], reviser: list[str], tmp_path: Path
) -> None:
    short, longer = (
        "revision(sequential=2,parallel=2,select=majority)",
        "revision(sequential=4,parallel=2,select=majority)",
    )
    evaluate(prepared(words, tmp_path, short, *reviser))
    run = evaluate(prepared(words, tmp_path, longer, *reviser))
    for result in run.results():
        if result.outcome["strategy"] == longer:
            new = sum(len(one["token_ids"]) for one in result.candidates if one["index"] % 4 >= 2)
            assert result.outcome["reviser_tokens"] == new > 0
            assert [one["parent"] for one in result.candidates] == [-1, 0, 1, 2, -1, 4, 5, 6]
    with pytest.raises(UserError, match=r"policy\.max_tokens was 40 and is 39"):
        opened(prepared(words, tmp_path, longer, *reviser, "policy.max_tokens=39"))


@pytest.fixture(params=[False, True], ids=["alone", "with-attempts"])
def judging(request: pytest.FixtureRequest, models: tuple[Path, Path], tmp_path: Path) -> list[str]:
    """A verifier that judges an answer alone, and one that reads the attempts before it."""
    if not request.param:
        return []
    shutil.copytree(models[1], tmp_path / "orm")
    RevisionFormat().write(tmp_path / "orm")
    return [f"verifier.path={tmp_path / 'orm'}"]


def test_at_worst_every_attempt_is_as_long_as_may_be_and_read_with_the_prompt(
    words: list[str], reviser: list[str], judging: list[str], tmp_path: Path
) -> None:
    made = prepared(
        words, tmp_path / "run", "revision(sequential=8,parallel=1,context=1)", *reviser, *judging
    )
    [need] = estimate(made, 6).each
    assert need.worst is not None
    assert made.framing is not None
    prompt, most = made.longest_prompt, 40
    context = made.framing.revising.length(prompt, most, 1)
    draws, judges, reads = made.costs["reviser"], made.costs["verifier"], made.judging is not None
    worst = draws.exact(0, prompt - 1, 0) + draws.exact(prompt - 1, most, most)
    worst += 7 * (draws.exact(0, context - 1, 0) + draws.exact(context - 1, most, most))
    worst += judges.exact(0, prompt, 0) + judges.exact(prompt, most, most)
    worst += 7 * (judges.exact(0, context, 0) + judges.exact(context, most, most) if reads else 0)
    assert need.worst.exact >= worst


def test_nothing_costs_more_than_it_was_estimated_at_worst(
    words: list[str], reviser: list[str], judging: list[str], tmp_path: Path
) -> None:
    made = prepared(words, tmp_path / "run", "revision(sequential=5,parallel=2)", *reviser, *judging)
    assert ("verifier_reads" in identify(made).flat()) == bool(judging)
    [need] = estimate(made, 6).each
    assert need.worst is not None
    assert (need.generations, need.candidates) == (10, 10)
    assert need.expected.of("reviser") == 10 * 30 == need.expected.drawn
    assert need.expected.of("policy") == 0
    alone = prepared(words, tmp_path / "run", "revision(sequential=1,parallel=10)", *reviser, *judging)
    plain = estimate(alone, 6).each[0]
    assert need.expected.paper == plain.expected.paper
    assert need.expected.exact > plain.expected.exact, "attempts are read"
    for row in evaluate(made).outcomes().to_pylist():
        assert row["spent_flops"] <= need.worst.paper
        assert 0 < row["spent_flops_exact"] <= need.worst.exact
        assert row["attributed_flops_exact"] <= need.worst.exact


SEARCH = "revision_search(of='best_of_n(n=3)',search='beam(n=4,width=2)',best=2)"


def test_a_search_by_the_reviser_on_bundled_models_costs_no_more_than_its_worst_and_is_used_again(
    tmp_path: Path,
) -> None:
    """The policy stands for the reviser, and a verifier reads the attempts, too."""
    policy, verifier = folder_of("arithmetic", "policy"), folder_of("arithmetic", "verifier")
    shutil.copytree(verifier, tmp_path / "orm")
    RevisionFormat().write(tmp_path / "orm")
    words = ["domain=arithmetic", "dataset.count=3", f"verifier.path={tmp_path / 'orm'}"]
    words += ["reviser=folder", f"reviser.path={policy}"]
    words += ["cluster.policy.cpus=0.5", "cluster.reviser.cpus=0.5"]
    made = prepared(words, tmp_path / "run", f'"{SEARCH}"')
    [need] = estimate(made, 3).each
    assert need.worst is not None
    assert need.generations == 7
    assert need.expected.of("policy") * 4 == need.expected.of("reviser") * 3
    run = evaluate(made)
    rows = {row["problem_id"]: row for row in run.outcomes().to_pylist()}
    for row in rows.values():
        assert row["state"] == "answered"
        assert row["spent_flops"] <= need.worst.paper
        assert 0 < row["spent_flops_exact"] <= need.worst.exact
    # Another folder finds every step and its score, and what they cost alone.
    again = prepared(words, tmp_path / "again", f'"{SEARCH}"', f"reuse=[{tmp_path / 'run'}]")
    for then in evaluate(again).outcomes().to_pylist():
        first = rows[then["problem_id"]]
        assert then["spent_flops"] == then["spent_flops_exact"] == 0
        for name in ("answer", "attributed_tokens", "attributed_flops_exact"):
            assert then[name] == first[name]


def test_a_report_tells_chains_step_by_step(words: list[str], reviser: list[str], tmp_path: Path) -> None:
    ends = ("revision(sequential=1,parallel=6)", "revision(sequential=6,parallel=1)")
    longer = ("revision(sequential=1,parallel=9)", "revision(sequential=9,parallel=1)")
    run = evaluate(prepared(words, tmp_path, f"majority(n=4),{BOTH},{','.join((*ends, *longer))}", *reviser))
    report = make_report(run, ReportSettings(figures=["svg"]))
    assert {one.strategy for one in report.measures.chains} == {*BOTH_TEXTS, *ends, *longer}
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Chains of revisions" in text
    assert "right attempts spoiled" in text
    # Of one setting there are three ratios of one budget and two of another: a line in a table each.
    ratios, more = report.measures.ratios
    assert {(one.setting, one.n) for one in (ratios, more)} == {("select=hierarchical", n) for n in (6, 9)}
    assert [one.name for one in ratios.ratios] == ["1:6", "3:2", "6:1"]
    assert [one.name for one in more.ratios] == ["1:9", "9:1"]
    assert all(f"## Sequential to parallel at N = {n}, select=hierarchical" in text for n in (6, 9))
    by_text = {row.strategy: row.accuracy for row in report.measures.rows}
    points = {(one.strategy, one.panel, one.x): one.accuracy for one in report.measures.difficulty}
    told = [
        *zip(ratios.ratios, (ends[0], BOTH_TEXTS[0], ends[1]), strict=True),
        *zip(more.ratios, longer, strict=True),
    ]
    for one, strategy in told:
        assert one.accuracy == by_text[strategy]
        mine = {(panel, x): told for (name, panel, x), told in points.items() if name == strategy}
        # What is not the largest of its series has no point in the figure by difficulty, and has its place here.
        assert one.bins == mine if strategy not in ends else not mine
        right = sum(each.mean * each.problems for each in one.bins.values())
        assert right == pytest.approx(one.accuracy.mean * one.accuracy.problems)
    steps = text.partition("## Chains of revisions")[2].partition("## Sequential")[0]
    assert f"| {longer[1]} | 8 |" in steps
    assert not any(f"| {shorter} |" in steps for shorter in (ends[1], BOTH_TEXTS[1]))
    drawn = {
        name: (tmp_path / "report" / f"{name}.svg").read_text() for name in ("chains_step", "chains_ratio")
    }
    assert "step of the chain" in drawn["chains_step"]
    assert "sequential : parallel, N = 6" in drawn["chains_ratio"]
    assert "sequential : parallel, N = 9" not in drawn["chains_ratio"], "two points are no line"
    # Which selects otherwise among the same attempts, or stops before, has the same line.
    assert drawn["chains_step"].count(f"{BOTH_TEXTS[0]}, 6 problems") == 1
    assert f"{BOTH_TEXTS[1]}, 6 problems" not in drawn["chains_step"]
    assert f"{ends[1]}, 6 problems" not in drawn["chains_step"]
    every = pyarrow.csv.read_csv(tmp_path / "report" / "chains.csv").to_pylist()
    table = [row for row in every if row["strategy"] in BOTH_TEXTS]
    assert {(row["strategy"], row["step"]) for row in table} == {
        (one, at) for one in BOTH_TEXTS for at in (1, 2, 3)
    }
    # Both strategies have the same attempts: one selects among them otherwise.
    first, second = ([row for row in table if row["strategy"] == one] for one in BOTH_TEXTS)
    assert [row["pass_at_1"] for row in first] == [row["pass_at_1"] for row in second]


def test_who_asks_no_policy_has_no_replica_of_one(
    words: list[str], reviser: list[str], tmp_path: Path
) -> None:
    made = prepared(words, tmp_path, "revision(sequential=2,parallel=2,select=majority)", *reviser)
    assert made.asked == {"reviser"}
    assert made.memory.keys() == {"reviser"}
    assert made.models.keys() == {"policy", "reviser"}
    with pytest.raises(UserError, match=r"reviser\.path = None"):
        prepared(words, tmp_path, "revision(sequential=2,parallel=2)")


REVISED = "revision(sequential=2,parallel=2)"


@pytest.mark.parametrize("option", [REVISED, SEARCH])
def test_a_plan_may_choose_revisions_beside_samples_and_is_for_its_own_reviser(
    words: list[str], reviser: list[str], models: tuple[Path, Path], tmp_path: Path, option: str
) -> None:
    """By the bin, and by the price of a FLOP: each prompt goes on from the policy's samples with the reviser's attempts."""
    file = tmp_path / "plan.yaml"
    sample = plan_for([*words, *reviser], file, offer=Offer((1, 2, 4), (option,)))
    assert read_plan(file).made.models.keys() == {"policy", "reviser", "verifier"}
    plan = f"compute_optimal(plan='{file}'"
    run = evaluate(prepared(words, tmp_path / "bins", f'"{plan},n=4)",best_of_n(n=2)', *reviser))
    rows = run.outcomes().to_pylist()
    assert {row["state"] for row in rows} == {"answered"}
    options = {row["problem_id"]: row["option"] for row in decisions(run)}
    assert option in options.values()
    for row in rows:
        if row["strategy"].startswith("compute_optimal"):
            assert (row["reviser_tokens"] > 0) == (options[row["problem_id"]] == option)
    # A budget that pays some samples and chains of each, at one price.
    budget = [f"budget.flops={40 * sample}", "budget.allocation=global", *reviser]
    made = prepared(words, tmp_path / "price", f'"{plan})"', *budget)
    assert made.asked == {"policy", "reviser", "verifier"}
    priced = evaluate(made)
    assert option in {row["option"] for row in decisions(priced)}
    [need] = estimate(made, 6).each
    for row in priced.outcomes().to_pylist():
        assert row["state"] == "answered"
        assert need.worst is not None
        assert row["spent_flops"] <= need.worst.paper
    other = tmp_path / "other"
    shutil.copytree(models[0], other)
    (other / "config.json").write_text((other / "config.json").read_text() + "\n\n")
    with pytest.raises(UserError, match=r"plan = .*it was made with another reviser"):
        opened(prepared(words, tmp_path / "new", f'"{plan})"', *reviser, f"reviser.path={other}"))


def decisions(run: Run) -> list[dict[str, Any]]:
    return [
        {"problem_id": problem, "option": one.option}
        for problem in run.problems(["problem_id"])["problem_id"].to_pylist()
        for some in run.decisions(problem=problem).values()
        for one in some
    ]


def test_a_plan_without_revisions_is_for_whatever_reviser_there_is(
    words: list[str], reviser: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "plan.yaml"
    plan_for(words, file)
    made = prepared(words, tmp_path / "new", f"\"compute_optimal(plan='{file}')\",{REVISED}", *reviser)
    assert opened(made).identity.models.keys() == {"policy", "reviser", "verifier"}


def test_what_cannot_be_revised_is_refused_apart_from_what_the_policy_solves(
    words: list[str], reviser: list[str], tmp_path: Path
) -> None:
    made = prepared(
        words,
        tmp_path,
        f"greedy,best_of_n(n=2),{REVISED},revision(sequential=2,parallel=1,first=policy)",
        *reviser,
    )
    given = [(strategy, strategy.text) for strategy in made.strategies]
    fits = list(_parted(made.contexts, 20, given))
    assert [(one.name, one.home, one.refused, len(one.missing)) for one in fits] == [
        ("", "policy", "", 3),
        ("/revised", "reviser", "", 1),
    ]
    room = made.contexts.tokens["reviser"]
    assert room is not None
    long = list(_parted(made.contexts, room - 60, given))
    assert [(one.name, one.home, bool(one.refused)) for one in long] == [
        ("", "policy", False),
        ("/revised", "reviser", True),
        ("/both", "policy", True),
    ]
    assert all("reviser's context" in one.refused for one in long[1:])


TEMPLATE = (
    "{% for one in messages %}[{{ one.role }}]{{ one.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_a_chat_model_is_asked_again_by_its_template_and_the_text_is_part_of_the_run(
    words: list[str], models: tuple[Path, Path], tmp_path: Path
) -> None:
    chat = tmp_path / "chat"
    shutil.copytree(models[0], chat)
    (chat / "chat_template.jinja").write_text(TEMPLATE)
    sizes = ["policy.max_tokens=20", "policy.typical_tokens=20", "cluster.reviser.cpus=0.5"]
    mine = ["policy.prompt.chat=true", f"policy.path={chat}", "verifier=none", *sizes]
    mine += ["reviser=chat", f"reviser.path={chat}", "reviser.dtype=float32"]
    words = [word for word in words if not word.startswith(("verifier", "policy"))]
    text, folder = "revision(sequential=3,parallel=1,select=majority)", tmp_path / "run"
    made = prepared([*words, *mine], folder, text, "reviser.turn=Again.")
    assert made.framing is not None
    tokenizer = AutoTokenizer.from_pretrained(chat)
    between = tokenizer.decode(made.framing.revising.context((), ((5, 6),))[2:])
    assert between == "\n[user]Again.\n[assistant]"
    assert not made.notes
    run = evaluate(made)
    assert {row["state"] for row in run.outcomes().to_pylist()} == {"answered"}
    with pytest.raises(UserError, match=r"reviser\.turn was .*Again.* and is .*Better"):
        opened(prepared([*words, *mine], folder, text, "reviser.turn=Better."))
