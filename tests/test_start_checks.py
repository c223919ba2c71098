"""What a trainer's command compares when it starts, and what follows for notes and remedies."""

import sys

import pytest
from msgspec import structs

from ckptdoctor import catalog as records
from ckptdoctor.model import pins
from ckptdoctor.model.evidence import StartCheck
from ckptdoctor.output import render
from probes import catalog, start_checks
from tests.test_output import PLAIN, healthy
from tests.test_plan import environment

MISC = '''
from .packages import is_env_enabled


def check_version(requirement: str, mandatory: bool = False) -> None:
    require_version(requirement, "transformers>=1")


def check_dependencies() -> None:
    """Checks transformers>=2."""
    check_version(
        "transformers>=4.45.0,<=4.52.4,!=4.52.0"
    )
    check_version("datasets>=2.16.0")
    check_version("trl")
    check_version(f"peft>={OLDEST}")
    require_version("Accelerate >=0.34.0", "To fix: pip install accelerate>=0.34.0")


def elsewhere() -> None:
    check_version("torch>=99")
'''
PARSER = """
def _check_extra_dependencies(training_args) -> None:
    if training_args.deepspeed:
        check_version("deepspeed>=0.10.0,<=0.16.9", mandatory=True)
    check_version("vllm>=0.4.3,<=0.8.6")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Writes a release of LLaMA-Factory, and reads its checks as the environment's side does."""
    before = {name: value.copy() for name, value in vars(catalog).items() if isinstance(value, (dict, list))}
    catalog.take(records.sent())
    monkeypatch.syspath_prepend(tmp_path)

    def write(**modules):
        for name, text in modules.items():
            file = tmp_path / "llamafactory" / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        sys.path_importer_cache.clear()
        return [(one["requirement"], one["unless"]) for one in start_checks.of("llamafactory")]

    yield write
    catalog.take({name.lower(): value for name, value in before.items()})


def test_the_calls_of_the_named_functions_are_read(installed):
    assert installed(__init__="", extras__misc=MISC, hparams__parser=PARSER) == [
        ("transformers>=4.45.0,<=4.52.4,!=4.52.0", "DISABLE_VERSION_CHECK"),
        ("Accelerate >=0.34.0", "DISABLE_VERSION_CHECK"),
        ("deepspeed>=0.10.0,<=0.16.9", ""),
    ]


def test_a_release_without_these_modules_checks_nothing(installed):
    assert installed() == []
    assert installed(__init__="", extras__misc="def check_dependencies(:") == []
    assert installed(extras__misc="def other(): check_version('transformers>=5')") == []
    assert start_checks.of("axolotl") == []


def stack(*installed, checks=(), requires=()):
    made = environment(*installed)
    packages = [
        structs.replace(one, start_checks=checks, requires=requires) if one.name == "llamafactory" else one
        for one in made.packages
    ]
    return structs.replace(made, packages=tuple(packages))


NEW = ("transformers==5.8.1", "llamafactory==0.9.5", "deepspeed==0.19.2")
OPTIONAL = StartCheck("transformers>=4.55.0,<=5.6.0", "DISABLE_VERSION_CHECK")
MANDATORY = StartCheck("deepspeed>=0.10.0,<=0.16.9")


def test_a_requirement_that_is_checked_is_told_once_with_its_consequence():
    declared = "transformers<=5.6.0,>=4.55.0"
    assert pins.unmet(stack(*NEW, requires=(declared,))) == [
        "transformers 5.8.1 is installed, and llamafactory 0.9.5 requires transformers<=5.6.0,>=4.55.0"
    ]
    assert pins.unmet(stack(*NEW, requires=(declared,), checks=(OPTIONAL,))) == [
        "llamafactory 0.9.5 starts no job with transformers 5.8.1 without DISABLE_VERSION_CHECK=1: it requires <=5.6.0,>=4.55.0"
    ]


def test_what_is_checked_and_not_declared_is_told_too():
    assert pins.unmet(stack(*NEW, checks=(MANDATORY,))) == [
        "llamafactory 0.9.5 starts no job with deepspeed 0.19.2, whatever is set: it requires <=0.16.9,>=0.10.0"
    ]
    assert pins.conflicts(stack(*NEW, checks=(OPTIONAL, MANDATORY))) == [
        "llamafactory 0.9.5 requires transformers<=5.6.0,>=4.55.0 and starts no job with another transformers unless "
        "DISABLE_VERSION_CHECK=1 is set",
        "llamafactory 0.9.5 requires deepspeed<=0.16.9,>=0.10.0 and starts no job with another deepspeed, whatever is set",
    ]


def test_checks_that_are_met_or_about_nothing_that_is_installed_are_no_news():
    met = (
        StartCheck("transformers>=5"),
        StartCheck("peft>=0.18"),
        StartCheck("deepspeed>=0.10", "DISABLE_VERSION_CHECK"),
    )
    assert pins.unmet(stack(*NEW, checks=met)) == []


def test_only_what_no_setting_helps_against_blocks_the_jobs_that_use_it():
    found = stack(*NEW, checks=(OPTIONAL, MANDATORY))
    every = {"transformers", "deepspeed"}
    assert [one.requirement.name for one in pins.blocking(found, every)] == ["deepspeed"]
    assert [one.requirement.name for one in pins.refusing(found, every)] == ["transformers", "deepspeed"]
    assert pins.refusing(found, set()) == pins.blocking(found, {"transformers"}) == []


def test_a_check_that_is_switched_off_is_none(installed, monkeypatch):
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "true")
    assert installed(__init__="", extras__misc=MISC, hparams__parser=PARSER) == [("deepspeed>=0.10.0,<=0.16.9", "")]
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "0")
    assert len(installed()) == 3


def test_what_another_release_does_not_admit_is_told_even_if_the_installed_one_does_not_either():
    before = stack(*NEW, requires=("transformers<=4.49.0",))
    newer = [structs.replace(one, version="0.9.6") if one.name == "llamafactory" else one for one in before.packages]
    assert pins.broken(before, before) == []
    assert pins.broken(before, structs.replace(before, packages=tuple(newer))) == [
        "llamafactory 0.9.6 requires transformers<=4.49.0"
    ]


@pytest.mark.parametrize(("verdict", "refused"), [("ok", ("llamafactory",)), ("fail", ("llamafactory",)), ("ok", ())])
@pytest.mark.parametrize("form", ["text", "html", "markdown", "junit", "sarif", "github"])
def test_an_ok_on_jobs_that_do_not_start_says_so_wherever_the_verdict_stands(form, verdict, refused):
    report = structs.replace(healthy(), verdict=verdict, not_starting=refused)
    said = "But llamafactory starts no such job as things are" in " ".join(render(form, report, PLAIN).split())
    assert said == (verdict == "ok" and bool(refused))
