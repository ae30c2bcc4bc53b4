"""Commands, settings, strategies and budgets that cannot be meant."""

from __future__ import annotations

from pathlib import Path

from orchestration.allocation.value_table import Offer
from tests.support.bad_input.cases import Words, case, evaluate
from tests.support.plans import made_plan


@case
def misspelt_command() -> Words:
    """a misspelt command"""
    return ["evalute"]


@case
def misspelt_setting() -> Words:
    """a misspelt setting"""
    return evaluate("dataset.cuont=3")


@case
def misspelt_option() -> Words:
    """a misspelt option of a group"""
    return evaluate("dataset=tabel")


@case
def folder_for_an_option() -> Words:
    """a model's folder for an option"""
    return evaluate("policy=policy")


@case
def hub_name_for_an_option() -> Words:
    """a name of the Hugging Face hub for an option"""
    return evaluate("policy=Qwen/Qwen2.5-0.5B")


@case
def verifier_for_an_option() -> Words:
    """a verifier's folder for an option"""
    return evaluate("verifier=prm")


@case
def file_for_an_option() -> Words:
    """a file for an option"""
    return evaluate("dataset=problems.jsonl")


@case
def amount_for_an_option() -> Words:
    """an amount for an option"""
    return evaluate("budget=1e9")


@case
def address_for_an_option() -> Words:
    """an address for an option"""
    return evaluate("cluster=10.0.0.1:6379")


@case
def mapping_of_settings() -> Words:
    """a mapping of settings"""
    return evaluate("policy={path: policy, max_tokens: 40}")


@case
def misspelt_domain() -> Words:
    """a misspelt domain"""
    return evaluate("domain=countdwon")


@case
def misspelt_pair() -> Words:
    """a misspelt pair"""
    return evaluate("pair=llama_3_3")


@case
def missing_pair_file() -> Words:
    """a pair file that is not there"""
    return evaluate("pair=my/pair.yaml")


@case
def pair_beside_a_domain() -> Words:
    """a pair beside a domain"""
    return evaluate("pair=qwen3", "domain=countdown")


@case
def pair_without_a_data_set() -> Words:
    """a pair, and no data set"""
    return evaluate("pair=qwen3")


@case
def pair_that_is_no_yaml() -> Words:
    """a pair's file that is no YAML"""
    Path("mine.yaml").write_text("policy: [chat")
    return evaluate("pair=mine.yaml")


@case
def pair_without_settings() -> Words:
    """a pair's file without settings"""
    Path("mine.yaml").write_text("- policy\n")
    return evaluate("pair=mine.yaml")


@case
def pair_with_a_misspelt_setting() -> Words:
    """a misspelt setting in a pair"""
    Path("mine.yaml").write_text("policy: chat\npolicy.pth: policy\nverifier: none\ndataset: math500\n")
    return evaluate("pair=mine.yaml")


@case
def pair_with_a_misspelt_option() -> Words:
    """a misspelt option in a pair"""
    Path("mine.yaml").write_text("policy: chta\n")
    return evaluate("pair=mine.yaml")


@case
def pair_from_another_of_ones_own() -> Words:
    """a pair that goes on from none that is ready"""
    Path("mine.yaml").write_text("pair: other.yaml\n")
    return evaluate("pair=mine.yaml")


@case
def pair_with_a_mapping() -> Words:
    """a mapping of settings in a pair"""
    Path("mine.yaml").write_text("policy:\n  path: policy\n  max_tokens: 40\n")
    return evaluate("pair=mine.yaml")


@case
def setting_of_another_option() -> Words:
    """a setting that another option has"""
    return evaluate("dataset.path=problems.jsonl")


@case
def setting_not_given() -> Words:
    """a setting that has to be given"""
    return evaluate("dataset=table")


@case
def no_setting() -> Words:
    """a word that is no setting"""
    return evaluate("greedy")


@case
def no_value() -> Words:
    """a setting without a value"""
    return evaluate("dataset.count=")


@case
def escape_without_quotes() -> Words:
    """an escape in no quotes"""
    return evaluate(r"policy.prompt.template={question}\n")


@case
def comma_without_quotes() -> Words:
    """a text that ends a solution, with a comma in no quotes"""
    return evaluate("policy.stop=Hello, world")


@case
def unknown_escape() -> Words:
    """an escape that there is not"""
    return evaluate(r'policy.prompt.template="{question}\d"')


@case
def template_without_question() -> Words:
    """a template without the question"""
    return evaluate("policy.prompt.template=Solve it")


@case
def seed_twice() -> Words:
    """a seed named twice"""
    return evaluate("seeds=[0,0]")


@case
def other_kind_of_value() -> Words:
    """a value of another kind"""
    return evaluate("policy.max_tokens=many")


@case
def misspelt_strategy() -> Words:
    """a misspelt strategy"""
    return evaluate("strategies=[gredy]")


@case
def misspelt_parameter() -> Words:
    """a misspelt parameter of a strategy"""
    return evaluate("strategies=[beam(n=16,widht=4)]")


@case
def parameter_by_a_keyword() -> Words:
    """a parameter by a word of Python's own"""
    return evaluate("strategies=[beam(n=4,with=4)]")


@case
def width() -> Words:
    """a width that does not divide N"""
    return evaluate("strategies=[beam(n=16,width=3)]")


@case
def too_many() -> Words:
    """more than a machine holds"""
    return evaluate("strategies=[majority(n=100000000)]")


@case
def reviser_needed() -> Words:
    """a strategy that needs a reviser, and none set"""
    return evaluate("strategies=[greedy,revision(sequential=4,parallel=2)]")


@case
def empty_chains() -> Words:
    """chains without an attempt"""
    return evaluate("strategies=[revision(sequential=0,parallel=2)]")


@case
def small_population() -> Words:
    """a population with fewer solutions than each slot reads"""
    return evaluate("strategies=[rsa(population=2,k=4,rounds=1)]")


@case
def refined_votes() -> Words:
    """what is to be refined is no search by the verifier"""
    return evaluate("strategies=[\"refine(of='majority(n=4)',best=1,attempts=2)\"]")


@case
def search_without_scores() -> Words:
    """a search for a reviser that draws of another model, or without the verifier"""
    return evaluate("strategies=[\"revision_search(of='beam(n=4)',search='majority(n=4)',best=1)\"]")


@case
def plan_with_revisions() -> Words:
    """a plan with revisions, and no reviser set"""
    made_plan(offer=Offer((1, 2, 4), ("revision(sequential=2,parallel=2)",))).write(Path("revised.yaml"))
    return evaluate("strategies=[\"compute_optimal(plan='revised.yaml')\"]")


@case
def selection_needs_verifier() -> Words:
    """a hierarchical selection, and no verifier set"""
    words = evaluate(
        "strategies=[revision(sequential=4,parallel=2)]", "reviser=folder", "reviser.path=policy"
    )
    return [*[word for word in words if not word.startswith("verifier")], "verifier=none"]


@case
def verifier_needed() -> Words:
    """a strategy that needs a verifier, and none set"""
    words = [word for word in evaluate("strategies=[greedy,beam(n=16)]") if not word.startswith("verifier")]
    return [*words, "verifier=none"]


@case
def budget_below_zero() -> Words:
    """a budget below zero"""
    return evaluate("budget.flops=-1")


@case
def two_budgets() -> Words:
    """two budgets"""
    return evaluate("budget.flops=1e9", "budget.tokens=1e3")


@case
def budget_below_one_generation() -> Words:
    """a budget below one generation"""
    return evaluate("budget.flops=1000")
