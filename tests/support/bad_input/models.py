"""Model folders that are damaged, or are no model of this kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.support.bad_input.cases import Words, case, edit, evaluate
from tests.support.bad_input.data import offline
from tests.support.model_folders import tokenizer_of
from tests.support.public_verifiers import PUBLIC, name_classes, with_pickled_head
from tests.support.thinking_verifiers import save_thinkprm


@case
def bundled_models_of_two_domains() -> Words:
    """bundled models of two domains"""
    words = ["dataset=gym", "dataset.name=gcd", "policy=arithmetic", "verifier=countdown"]
    return ["evaluate", *words, "strategies=[best_of_n(n=4)]"]


@case
def bundled_model_of_another_domain() -> Words:
    """a bundled model with problems of another domain"""
    return evaluate("dataset=arithmetic", "policy.path=bundled/countdown")


@case
def no_such_bundled_model() -> Words:
    """no such bundled model"""
    return evaluate("policy.path=bundled/countdwon")


@case
def no_model() -> Words:
    """no such model"""
    return evaluate("policy.path=polcy")


@case
def file_for_a_model() -> Words:
    """a file for a model"""
    return evaluate("policy.path=policy/config.json")


@case
def file_of_no_folder() -> Words:
    """a file that is no part of a model's folder"""
    Path("model.gguf").write_bytes(b"GGUF")
    return evaluate("policy.path=model.gguf")


@case
def hub_name() -> Words:
    """a name of the Hugging Face hub, with no hub"""
    offline()
    return evaluate("policy.path=Qwen/Qwen2.5-0.5B")


@case
def system_text_unread() -> Words:
    """a system text that no model would read"""
    return evaluate("policy.prompt.system=Be brief.")


@case
def variables_in_no_chat() -> Words:
    """variables of a chat template in no chat"""
    return evaluate("policy.prompt.chat_options.enable_thinking=false")


@case
def variable_without_a_name() -> Words:
    """a variable of a chat template without a name"""
    return evaluate("policy.prompt.chat=true", "policy.prompt.chat_options={1: false}")


@case
def variable_that_a_template_does_not_have() -> Words:
    """a variable that a chat template does not have"""
    Path("policy/chat_template.jinja").write_text("{{ messages[0].content }}")
    return evaluate("policy.prompt.chat=true", "policy.prompt.chat_options.enable_thinking=false")


@case
def architecture() -> Words:
    """an architecture that is not supported"""
    edit("policy/config.json", model_type="bert")
    return evaluate()


@case
def failing_template() -> Words:
    """a chat template that fails"""
    Path("policy/chat_template.jinja").write_text("{{ raise_exception('no turn of this kind') }}")
    return evaluate("policy.prompt.chat=true")


@case
def no_earlier_turns() -> Words:
    """a chat template that shows no examples"""
    Path("policy/chat_template.jinja").write_text("{{ messages[-1].content }}")
    short = [
        "policy.max_tokens=10",
        "policy.typical_tokens=10",
        "dataset.count=9",
        "domain=arithmetic",
        "dataset.options={legs: [1,1], sums: 0}",
    ]
    return evaluate("policy.prompt.chat=true", "policy.prompt.shots=1", *short)


@case
def no_weights() -> Words:
    """a model without weights"""
    Path("policy/model.safetensors").unlink()
    return evaluate()


@case
def adapter() -> Words:
    """an adapter alone"""
    Path("policy/model.safetensors").rename("policy/adapter_model.safetensors")
    return evaluate()


@case
def pickled() -> Words:
    """pickled weights alone"""
    Path("policy/model.safetensors").rename("policy/pytorch_model.bin")
    return evaluate()


@case
def quantised() -> Words:
    """quantised weights on the local engine"""
    edit("policy/config.json", quantization_config={"quant_method": "fp8"})
    return evaluate("policy.engine=local")


@case
def not_on_slots() -> Words:
    """an architecture that the local engine does not run"""
    edit("policy/config.json", model_type="bloom", architectures=["BloomForCausalLM"])
    return evaluate("policy.engine=local", "strategies=[greedy]", "--dry-run")


@case
def left_over() -> Words:
    """a tensor that the model has no place for"""
    file = Path("policy/model.safetensors")
    save_file(load_file(file) | {"model.layers.0.mlp.gate_proj.bias": np.zeros(64, np.float32)}, file)
    return evaluate("--dry-run")


@case
def missing() -> Words:
    """a tensor that is missing"""
    file = Path("policy/model.safetensors")
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file)
    return evaluate("--dry-run")


@case
def cut_off() -> Words:
    """weights that are cut off"""
    file = Path("policy/model.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    return evaluate()


@case
def missing_shard() -> Words:
    """a shard that is missing"""
    names = {f"t{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    Path("policy/model.safetensors").unlink()
    save_file({"t1": np.zeros(9, np.float32)}, Path("policy") / names["t1"])
    Path("policy/model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return evaluate()


@case
def damaged_config() -> Words:
    """a damaged config"""
    Path("policy/config.json").write_text('{"model_type": "llama", ')
    return evaluate()


@case
def no_tokenizer() -> Words:
    """no tokenizer"""
    Path("policy/tokenizer.json").unlink()
    return evaluate()


@case
def foreign_tokenizer() -> Words:
    """another model's tokenizer"""
    edit("policy/config.json", vocab_size=100)
    return evaluate()


@case
def no_chat_template() -> Words:
    """a chat prompt for a model without a chat template"""
    return evaluate("policy.prompt.chat=true")


@case
def other_vocabulary() -> Words:
    """a verifier with another vocabulary"""
    tokenizer = json.loads(Path("prm/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    Path("prm/tokenizer.json").write_text(json.dumps(tokenizer))
    return evaluate()


REVISED = ("strategies=[revision(sequential=4,parallel=2)]", "reviser=folder", "reviser.path=reviser")


@case
def foreign_reviser() -> Words:
    """a reviser with another vocabulary"""
    shutil.copytree("policy", "reviser")
    tokenizer = json.loads(Path("reviser/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    Path("reviser/tokenizer.json").write_text(json.dumps(tokenizer))
    return evaluate(*REVISED)


@case
def narrow_reviser() -> Words:
    """a reviser whose context holds no attempt"""
    shutil.copytree("policy", "reviser")
    edit("reviser/config.json", max_position_embeddings=90)
    return evaluate(*REVISED)


@case
def reviser_outside_a_chat() -> Words:
    """a text for a reviser that is asked in no chat"""
    return evaluate(*REVISED, "reviser.turn=Again.")


@case
def empty_turn() -> Words:
    """an empty text for a reviser in a chat"""
    return evaluate(*REVISED, "policy.prompt.chat=true", "reviser.turn=' '")


@case
def no_earlier_attempts() -> Words:
    """a chat template that shows no earlier attempts"""
    Path("policy/chat_template.jinja").write_text("{{ messages[-1].content }}")
    shutil.copytree("policy", "reviser")
    return evaluate(*REVISED, "policy.prompt.chat=true", "reviser.turn=Again.")


@case
def endless_reviser() -> Words:
    """a reviser whose tokenizer has no end token"""
    shutil.copytree("policy", "reviser")
    edit("reviser/tokenizer_config.json", eos_token=None)
    return evaluate(*REVISED)


@case
def damaged_format() -> Words:
    """a damaged format of a reviser"""
    shutil.copytree("policy", "reviser")
    Path("reviser/revision.json").write_text("{")
    return evaluate(*REVISED)


@case
def foreign_value_head() -> Words:
    """another model's value head"""
    edit("prm/value_head.json", hidden_size=64)
    return evaluate()


@case
def no_verifier() -> Words:
    """a verifier that is none"""
    return evaluate("verifier.path=policy")


@case
def no_such_family() -> Words:
    """no such family of verifiers"""
    return evaluate("verifier=folder", "verifier.family=tlr_prm")


@case
def family_of_our_own() -> Words:
    """a family for a verifier of flopwise's own"""
    return evaluate("verifier=trl_prm", 'verifier.separator="\\n"')


@case
def other_family() -> Words:
    """a verifier of another family than is said"""
    PUBLIC["trl_prm"].save(Path("public"))
    return evaluate("verifier=skywork_prm", "verifier.path=public")


@case
def head_of_its_own() -> Words:
    """a verifier with a head of its own for one without"""
    PUBLIC["qwen_math_prm"].save(Path("public"))
    return evaluate("verifier=rlhflow_deepseek", "verifier.path=public")


@case
def verifier_for_a_policy() -> Words:
    """a public verifier for a policy"""
    PUBLIC["qwen_math_prm"].save(Path("public"))
    return evaluate("policy.path=public")


@case
def other_head() -> Words:
    """a verifier's head of another shape than its family's"""
    PUBLIC["outcome"].save(Path("public"))
    return evaluate("verifier=trl_prm", "verifier.path=public")


@case
def public_of_two_good_classes() -> Words:
    """a public verifier whose classes are both called good"""
    name_classes(PUBLIC["trl_prm"].save(Path("public")), "correct", "true")
    return evaluate("verifier=trl_prm", "verifier.path=public")


@case
def public_of_another_tokenizer() -> Words:
    """a public verifier with another tokenizer"""
    PUBLIC["qwen_math_prm"].save(Path("public"))
    tokenizer_of("byte-level").save_pretrained("public")
    return evaluate("verifier=qwen_math_prm", "verifier.path=public")


@case
def public_without_template() -> Words:
    """a public verifier without its chat template"""
    PUBLIC["outcome"].save(Path("public"))
    for file in Path("public").glob("chat_template*"):
        file.unlink()
    return evaluate("verifier=outcome_rm", "verifier.path=public")


@case
def pickled_head() -> Words:
    """a verifier's head that is pickled"""
    with_pickled_head(PUBLIC["reasonflux_prm_1_5b"].save(Path("public")))
    return evaluate("verifier=reasonflux_prm_1_5b", "verifier.path=public")


@case
def separator_of_another_family() -> Words:
    """a separator for a family that has a format of its own"""
    PUBLIC["skywork_prm"].save(Path("public"))
    return evaluate("verifier=folder", "verifier.path=public", 'verifier.separator="\\n"')


@case
def empty_separator() -> Words:
    """an empty separator"""
    PUBLIC["trl_prm"].save(Path("public"))
    return evaluate("verifier=trl_prm", "verifier.path=public", 'verifier.separator=""')


@case
def separator_of_our_own() -> Words:
    """a separator for a verifier of flopwise's own"""
    return evaluate("verifier=folder", 'verifier.separator="\\n"')


def _judged(*words: str) -> Words:
    save_thinkprm(Path("public"))
    return evaluate("verifier=thinkprm", "verifier.path=public", *words)


@case
def writing_of_another_family() -> Words:
    """a length of what a judge writes that writes nothing"""
    return _judged("verifier.family=judge")


@case
def nothing_to_write() -> Words:
    """a judge that is to write no token"""
    return _judged("verifier.max_tokens=0")


@case
def judge_below_zero() -> Words:
    """a judge's temperature below 0"""
    return _judged("verifier.temperature=-1")


@case
def equal_chains() -> Words:
    """several texts of a judge that would all be one"""
    return _judged("verifier.chains=4")


@case
def thought_without_room() -> Words:
    """a judge whose context what it writes would fill"""
    return _judged("verifier.max_tokens=1010")


@case
def judge_that_writes_on_vllm() -> Words:
    """a judge that writes, on vLLM"""
    return _judged("verifier.engine=vllm")


@case
def verdicts_alike() -> Words:
    """a judge whose tokenizer does not tell its verdicts apart"""
    PUBLIC["judge"].save(Path("public"))
    return evaluate("verifier=thinkprm", "verifier.path=public", "verifier.max_tokens=50")


@case
def verdicts_of_steps_alike() -> Words:
    """a judge of steps whose tokenizer does not tell its verdicts apart"""
    PUBLIC["judge"].save(Path("public"))
    return evaluate("verifier=genprm", "verifier.path=public", "verifier.max_tokens=50")


@case
def value_of_several_steps() -> Words:
    """a value of several steps' scores, of which a judge writes one"""
    return _judged("verifier.max_tokens=50", "strategies=[best_of_n(n=4,aggregation=min)]")


@case
def no_step_can_end() -> Words:
    """a delimiter that no step can end in"""
    tokenizer_of("wordpiece").save_pretrained("policy")
    return evaluate("strategies=[monte_carlo(samples=2,rollouts=2)]")


@case
def no_delimiter() -> Words:
    """no delimiter for a strategy that draws step by step"""
    return evaluate("policy.delimiter=null", "strategies=[beam(n=4,width=2)]")
