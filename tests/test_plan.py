import pytest
from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.model.evidence import Environment, Package, Setup
from ckptdoctor.model.workers import FULL_STACK, WITHOUT_DEEPSPEED
from ckptdoctor.planning import plan
from ckptdoctor.planning.options import COURSE, Options, in_the_wild


def environment(*packages, trainers=(), families=("glm", "glm4", "llama", "qwen2")):
    names = [name.split("==") for name in packages]
    return Environment(
        python="3.11.7",
        executable="/envs/train/bin/python",
        platform="linux x86_64",
        packages=tuple(Package(name, version) for name, version in names),
        stack=tuple(name for name, _ in names),
        trainers=tuple(trainers),
        families=list(families) if any(name == "transformers" for name, _ in names) else [],
    )


FULL = environment(
    "torch==2.13.0",
    "transformers==4.51.3",
    "deepspeed==0.16.4",
    "llamafactory==0.9.2",
    trainers=("llamafactory", "llamafactory:unsloth"),
)


def ids(made, role=None):
    return {one.spec.id for one in made.probes if role in (None, one.role)}


def test_every_probe_has_a_name_of_its_own():
    made = plan.make(FULL, Options())
    assert len(ids(made)) == len(made.probes)


def test_a_trainers_function_is_tried_under_every_engine_beside_its_controls():
    made = plan.make(FULL, Options())
    usual = {
        one.name: "/2 ranks" * (one.record.least_ranks > 1)
        for one in catalog.engines().values()
        if not one.is_on_demand
    }
    assert {"none", "zero3", "ddp", "fsdp2"} <= usual.keys()
    for engine, ranks in usual.items():
        assert f"glm4/llamafactory/{engine}{ranks}" in ids(made, "subject")
        assert f"glm4/none/{engine}{ranks}" in ids(made, "control")
    for engine in ("zero0", "zero1", "zero2", "zero3"):
        assert f"glm4/torch:non-reentrant/{engine}" in ids(made, "subject")


def test_only_deepspeeds_engines_and_function_run_where_deepspeed_is():
    for one in plan.make(FULL, Options()).probes:
        needs = one.spec.engine.startswith("zero") or one.spec.function == "deepspeed"
        assert one.worker == (FULL_STACK if needs else WITHOUT_DEEPSPEED)


def test_without_deepspeed_no_engine_of_its_is_planned():
    made = plan.make(environment("torch==2.13.0", "transformers==4.51.3"), Options())
    assert {one.spec.engine for one in made.probes} == {"none", "partial", "ddp", "fsdp2"}
    assert not made.specs(FULL_STACK)


def test_engines_that_are_rare_or_slow_run_if_they_are_named_and_are_told_of_otherwise():
    made = plan.make(FULL, Options())
    assert {"ddp-unused", "fsdp1", "compile"} <= set(made.left_out)
    assert not {one.spec.engine for one in made.probes} & set(made.left_out)
    every = plan.make(FULL, Options(engines=["all"]))
    assert {one.spec.engine for one in every.probes} == set(catalog.engines())
    assert every.left_out == plan.make(FULL, Options(engines=["none"])).left_out == []


def test_an_older_torch_has_no_fully_shard_and_macos_forks_no_ranks():
    old = plan.make(environment("torch==2.3.1+cpu"), Options())
    assert not {one for one in (*old.left_out, *(probe.spec.engine for probe in old.probes)) if one.startswith("fsdp2")}
    mac = plan.make(structs.replace(FULL, platform="darwin arm64"), Options())
    assert {"ddp", "fsdp2"} <= set(mac.left_out)
    assert not {one.spec.engine for one in mac.probes} & {"ddp", "fsdp2"}


def test_the_engine_that_a_setting_changes_to_is_tried_beside_one_that_may_be_at_fault():
    made = plan.make(FULL, Options(engines=["ddp-unused"], functions=["torch:reentrant"]))
    assert "glm4/torch:reentrant/ddp-unused/2 ranks" in ids(made, "subject")
    assert {"glm4/torch:reentrant/ddp/2 ranks", "glm4/none/ddp/2 ranks"} <= ids(made, "control")


def test_each_of_two_mechanisms_that_checkpoint_is_tried_alone():
    setup = Setup(fsdp_checkpointing=True)
    made = plan.make(FULL, Options(engines=["fsdp2"], functions=["torch:reentrant"], setup=setup))
    assert ids(made, "subject") == {"glm4/torch:reentrant/fsdp2/FSDP's checkpointing/2 ranks"}
    assert {"glm4/torch:reentrant/fsdp2/2 ranks", "glm4/torch:wrapper/fsdp2/2 ranks"} <= ids(made, "control")
    assert not any(one.spec.setup.fsdp_checkpointing for one in made.probes if one.spec.function == "torch:wrapper")


def test_deepspeeds_own_function_counts_only_when_it_was_asked_for():
    assert ids(plan.make(FULL, Options()), "advisory") == {"glm4/deepspeed/zero0"}
    asked = plan.make(FULL, Options(functions=["deepspeed"]))
    assert not ids(asked, "advisory")
    assert "glm4/deepspeed/none" in ids(asked, "subject")


def test_conventions_are_evidence_not_subjects_beside_a_real_model():
    made = plan.make(FULL, Options())
    assert ids(made, "convention") == {f"tiny-glm4/llamafactory/none/{name}" for name in catalog.conventions()}


def test_our_own_model_is_judged_in_each_convention_that_transformers_has_used():
    made = plan.make(environment("torch==2.13.0"), Options(engines=["none"]))
    conventions = {one.spec.convention for one in made.probes if one.role == "subject"}
    assert conventions == set(in_the_wild())
    assert "transformers is not installed" in made.notes[0]


@pytest.mark.parametrize(
    ("families", "chosen"),
    [(("glm", "glm4"), "glm4"), (("glm", "llama"), "glm"), (("llama",), "llama"), ((), "tiny-glm4")],
)
def test_the_family_nearest_to_the_fault_is_chosen(families, chosen):
    made = plan.make(environment("torch==2.13.0", "transformers==4.40.0", families=families), Options(engines=["none"]))
    assert {one.spec.model for one in made.probes if one.role == "subject"} == {chosen}
    assert bool(made.notes) == (chosen != "glm4")


def test_without_torch_nothing_can_be_planned():
    with pytest.raises(TargetError, match="torch is not installed") as caught:
        plan.make(environment("transformers==4.51.3"), Options())
    assert caught.value.status == 3
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (Options(models=["glm5"]), TargetError, "did you mean glm"),
        (Options(models=["no/such/folder"]), UsageFault, "family"),
        (Options(functions=["llamafactry"]), UsageFault, "did you mean llamafactory"),
        (Options(functions=["missing.py:f"]), UsageFault, "file.py:function"),
        (Options(functions=["axolotl"]), TargetError, "--with axolotl"),
    ],
)
def test_what_is_not_there_is_said_with_a_next_step(options, error, said):
    with pytest.raises(error) as caught:
        plan.make(FULL, options)
    assert said in caught.value.hint


def test_an_engine_that_was_asked_for_needs_deepspeed():
    with pytest.raises(TargetError, match="'zero3' needs deepspeed"):
        plan.make(environment("torch==2.13.0"), Options(engines=["zero3"]))


def test_a_users_function_is_named_by_its_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    made = plan.make(FULL, Options(functions=["mine.py:f"], engines=["none"]))
    assert f"glm4/{tmp_path}/mine.py:f/none" in ids(made, "subject")


def test_a_family_of_functions_is_chosen_by_its_trainer():
    made = plan.make(FULL, Options(functions=["llamafactory"], engines=["none"]))
    usual = [one.spec for one in made.probes if one.role == "subject" and not one.spec.variant]
    assert {one.id for one in usual if not one.as_installed} == {
        "glm4/llamafactory/none",
        "glm4/llamafactory:unsloth/none",
    }


def test_the_environment_as_it_is_is_tried_where_no_engine_needs_deepspeed():
    """Hiding DeepSpeed shows whom to blame, and never that the environment works."""
    made = plan.make(FULL, Options(functions=["llamafactory"], engines=["none"]))
    tried = {one.spec.id: (one.role, one.worker) for one in made.probes if one.spec.as_installed}
    assert tried["glm4/llamafactory/none/as installed"] == ("subject", FULL_STACK)
    assert tried["glm4/none/none/as installed"] == ("control", FULL_STACK)
    # Engines of DeepSpeed's run with all that is installed in any case; without DeepSpeed nothing is hidden.
    for other in (plan.make(FULL, Options()), plan.make(environment("torch==2.13.0"), Options(engines=["none"]))):
        assert not any(one.spec.as_installed for one in other.probes)


def courses(options):
    return {one.spec.function: one for one in plan.make(FULL, options).probes if one.spec.variant == COURSE}


@pytest.mark.parametrize("more", [{"engines": ("zero3",)}, {"setup": Setup(precision="bf16", tuning="lora")}])
def test_a_course_is_the_functions_own_and_counts_whatever_engine_or_job_it_is_for(more):
    [(name, course)] = courses(Options(**more)).items()
    assert (name, course.role, course.worker) == ("llamafactory", "subject", WITHOUT_DEEPSPEED)
    assert (course.spec.engine, course.spec.setup) == ("none", Setup())


def test_a_thorough_plan_has_all_but_torchs_functions_take_the_whole_course_and_tries_them_under_every_engine():
    usual, thorough = (
        courses(Options()),
        courses(Options(functions=["torch", "deepspeed", "llamafactory"], thorough=True)),
    )
    assert not any(one.spec.thorough for one in usual.values())
    assert thorough.keys() == {"deepspeed", "llamafactory", "llamafactory:unsloth"}
    assert all(one.spec.thorough for one in thorough.values())
    assert thorough["deepspeed"].worker == FULL_STACK
    under = {
        one.spec.engine for one in plan.make(FULL, Options(thorough=True)).probes if "unsloth" in one.spec.function
    }
    assert under == {one.name for one in catalog.engines().values() if not one.is_on_demand}


def tried(options, *packages):
    made = plan.make(environment("torch==2.13.0", "transformers==5.13.1", *packages), options)
    return {one.spec.id.partition("/")[2]: one.role for one in made.probes if one.usual and one.spec.model == "glm4"}


def test_an_adapter_is_tried_where_peft_is_installed():
    assert not any("lora" in name for name in tried(Options()))
    found = tried(Options(), "peft==0.19.1", "deepspeed==0.19.2")
    assert found["torch:reentrant/none/lora"] == "subject"  # a plain script
    assert found["torch:non-reentrant/zero3/lora+inputs require grad"] == "subject"
    assert found["none/zero3/lora+inputs require grad"] == "control"
    assert not any("/zero1/" in name for name in found)
    thorough = tried(Options(thorough=True), "peft==0.19.1", "deepspeed==0.19.2")
    assert thorough["torch:reentrant/zero1/lora+inputs require grad"] == "subject"


def test_an_engine_of_the_users_choice_is_the_one_that_counts():
    found = tried(Options(engines=["zero3"], beside=["none"]), "peft==0.19.1", "deepspeed==0.19.2")
    assert found["torch:reentrant/zero3/lora+inputs require grad"] == "subject"
    assert found["torch:reentrant/none/lora+inputs require grad"] == "control"
    assert not any("prefix" in name or "cache" in name for name in found)


def test_a_job_is_tried_as_it_is_and_without_variants():
    assert not tried(Options(setup=Setup(tuning="lora")), "peft==0.19.1")


def test_what_may_fix_a_frozen_prefix_is_tried_beside_it():
    assert not any("prefix" in name for name in tried(Options()))  # older transformers all fail there
    found = tried(Options(models=["glm4"]))
    assert found["torch:reentrant/none/prefix"] == "subject"
    assert found["torch:reentrant/none/prefix/inputs require grad"] == "control"


def perturbed(options):
    return {one.spec.id for one in plan.make(FULL, options).probes if one.spec.variant == "perturbed"}


def test_other_values_are_tried_on_a_model_of_the_users_choice_and_in_jobs(tmp_path):
    (tmp_path / "mine.py").write_text("")
    mine = f"{tmp_path}/mine.py:f"
    assert perturbed(Options()) == set()
    assert perturbed(Options(models=["qwen2"])) == {"qwen2/torch:non-reentrant/none/perturbed"}
    job = Options(models=["qwen2"], engines=["zero3"], functions=["llamafactory"], setup=Setup(tuning="lora"))
    assert perturbed(job) == {"qwen2/llamafactory/none/perturbed"}
    assert perturbed(Options(functions=[mine])) == {f"glm4/{mine}/none/perturbed"}


def test_variants_that_only_thorough_tries_are_named():
    packages = environment("torch==2.13.0", "transformers==5.13.1", "deepspeed==0.19.2", "peft==0.19.1")
    engines, variants = plan.make(packages, Options()).not_tried
    assert engines.endswith(" (--engine all)")
    assert variants.startswith("gradient accumulation, ")
    assert variants.endswith(" (--thorough)")
    assert "LoRA under" in variants
    assert "ZeRO 0" in variants
    assert "3" not in variants
    for options in (Options(thorough=True), Options(engines=["none"]), Options(setup=Setup(tuning="lora"))):
        made = plan.make(packages, options)
        assert made.notes == []
        assert not any("--thorough" in one for one in made.not_tried)


def test_repeated_steps_have_their_control_under_every_engine():
    made = plan.make(FULL, Options(thorough=True, engines=["zero1"]))
    roles = {one.spec.function: one.role for one in made.probes if one.spec.variant == "accumulated"}
    assert roles["none"] == "control"
    assert roles["torch:reentrant"] == roles["llamafactory"] == "subject"
    assert all(one.usual and not one.usual.variant for one in made.probes if one.spec.variant == "second")
