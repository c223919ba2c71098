"""What a change breaks: which code differs, what is compared, what is said of it, and how safely."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from ckptdoctor.environment.releases import Release
from ckptdoctor.impact import choosing, code, contracts, fixes
from ckptdoctor.impact.comparing import Compared, Sides
from ckptdoctor.matrix.fingerprints import Reader
from ckptdoctor.model.compatibility import SCHEMA as MAP
from ckptdoctor.model.compatibility import Cell, Fault, Judged, Map, Run
from ckptdoctor.model.evidence import (
    CallableInfo,
    Contract,
    Evidence,
    Handover,
    Layer,
    LayerContract,
    Place,
    TrainersCall,
)
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.impact import (
    SCHEMA,
    Change,
    ContractChange,
    Impact,
    NotCompared,
    Outcome,
    Reliance,
    Side,
    Watched,
)
from ckptdoctor.model.report import Remedy
from ckptdoctor.model.sources import Source
from ckptdoctor.output import Style, formats, render
from ckptdoctor.output.impact.json import schema, schema_text
from ckptdoctor.output.impact.markdown import LIMIT, MARKER
from ckptdoctor.scan.rules import rules
from tests.conftest import call
from tests.test_family_code import FOLDER, PACKAGE
from tests.test_fingerprints import LLAMAFACTORY, Shop
from tests.test_measuring import TARGET

SHOWN = Style(color=False, width=100, verbose=False, unicode=True)
BASE, HEAD = "5.22.2", "5.23.0"
SIDES = Sides("transformers", BASE, HEAD)
READ = Place("llamafactory/checkpointing.py", 86, "f", "llamafactory", "0.9.5", "func.func.__self__")
PASSED = Place(
    "transformers/modeling_layers.py", 120, "f", "transformers", "5.23.0", "return self.function(partial(forward))"
)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


# -- which code differs -----------------------------------------------------------------------------------------------


def between(shop, before, after, package="transformers", asked=(), **more):
    reader = Reader(shop.session, shop.folder / "cache")
    return code.between(
        shop.release(package, before), shop.release(package, after, **more), shop.session, reader, asked
    )


def changed(file, old, new, files=PACKAGE):
    assert old in files[file]
    return {**files, file: files[file].replace(old, new)}


@pytest.mark.parametrize("source", [False, True])
def test_a_comment_or_a_docstring_is_no_change(shop, source):
    after = changed("transformers/modeling_layers.py", "x = 1\n", 'x = 1  # one\n    """Two."""\n')
    found = between(shop, PACKAGE, after, source=source)
    assert not found.matters
    assert not found.files


def test_code_that_has_nothing_to_do_with_checkpointing_is_named_and_not_run(shop):
    found = between(shop, PACKAGE, changed(f"{FOLDER}/other/modeling_other.py", "x = 1", "x = 2"))
    assert not found.matters
    assert found.files == ["transformers/models/other/modeling_other.py"]


def test_families_are_those_whose_code_differs(shop):
    layers = between(
        shop, PACKAGE, changed("transformers/modeling_layers.py", "Layer:\n    x = 1", "Layer:\n    x = 2")
    )
    assert set(layers.families) == {"small", "seeing"}
    tower = between(shop, PACKAGE, changed(f"{FOLDER}/tower/modeling_tower.py", "x = 1", "x = 2"))
    assert (tower.families, tower.matters) == (["seeing"], True)


def test_only_families_that_are_asked_for_are_looked_at_and_folders_of_models_are_run(shop):
    after = changed(f"{FOLDER}/tower/modeling_tower.py", "x = 1", "x = 2")
    some = between(shop, PACKAGE, after, asked=["small"])
    assert (some.families, some.alike, some.matters) == ([], ["small"], False)
    both = between(shop, PACKAGE, after, asked=["small", "seeing"])
    assert (both.families, both.alike, both.matters) == (["seeing"], ["small"], True)
    folder = between(shop, PACKAGE, after, asked=["/models/mine"])
    assert (folder.families, folder.alike, folder.matters) == ([], [], True)


def test_a_family_that_only_one_side_has_is_told_apart(shop):
    auto = f"{FOLDER}/auto/modeling_auto.py"
    without = changed(auto, "('small', 'SmallForCausalLM')", "")
    assert between(shop, PACKAGE, without).gone == ["small"]
    assert between(shop, without, PACKAGE).new == ["small"]


def test_trainers_own_call_is_compared_although_no_family_has_it(shop):
    before = {
        **PACKAGE,
        "transformers/trainer.py": "class Trainer:\n    def train(self, args):\n        if args.gradient_checkpointing:\n"
        "            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=None)\n",
        f"{FOLDER}/llama/modeling_llama.py": "class LlamaForCausalLM:\n    x = 1\n",
        f"{FOLDER}/auto/modeling_auto.py": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = dict([('llama', 'LlamaForCausalLM')])\n",
        f"{FOLDER}/auto/configuration_auto.py": "CONFIG_MAPPING_NAMES = dict([('llama', 'A')])\n",
    }
    after = changed("transformers/trainer.py", "kwargs=None", "kwargs=None, offload=False", before)
    assert between(shop, before, after).families == ["llama"]


def test_of_a_trainer_the_module_of_its_function_counts(shop):
    own = "llamafactory/model/model_utils/checkpointing.py"
    assert not between(
        shop, LLAMAFACTORY, changed("llamafactory/train.py", "1", "2", LLAMAFACTORY), "llamafactory"
    ).matters
    assert between(shop, LLAMAFACTORY, changed(own, "__self__", "self", LLAMAFACTORY), "llamafactory").matters


def test_of_another_package_all_code_counts(shop):
    files = {"peft/__init__.py": "x = 1\n", "peft/tuners.py": "x = 1\n"}
    assert not between(shop, files, changed("peft/tuners.py", "1\n", "1  # one\n", files), "peft").matters
    assert between(shop, files, changed("peft/tuners.py", "1", "2", files), "peft").matters


def test_a_release_that_cannot_be_read_is_run(shop):
    broken = Release("peft", "9.0")
    assert code.between(broken, broken, shop.session, Reader(shop.session, shop.folder)).matters


# -- which releases are tried -----------------------------------------------------------------------------------------


class Shelf:
    """An index of wheels that a test makes."""

    def __init__(self, shop):
        self.shop, self.kept = shop, {}

    def add(self, package, *requires):
        declared = tuple(f"Requires-Dist: {one}" for one in requires)
        made = self.shop.release(package, {**LLAMAFACTORY, "llamafactory/x.py": str(requires)}, declared)
        self.kept.setdefault(package, []).append(made)
        return made

    def releases(self, name):
        from ckptdoctor.errors import UsageFault

        if name not in self.kept:
            raise UsageFault(f"No package index in use has {name}.", "")
        return self.kept[name]


def test_trainers_are_tried_at_the_newest_release_and_at_the_newest_that_admits_each_side(shop):
    shelf = Shelf(shop)
    admits_both = shelf.add("llamafactory", "transformers>=4")
    admits_base = shelf.add("llamafactory", "transformers<5.23")
    shelf.add("llamafactory", "transformers<5")
    newest = shelf.add("llamafactory", "transformers<5")
    sides = (Release("transformers", BASE), Release("transformers", HEAD))
    [axis] = choosing.trainers(sides, TARGET, shelf, Reader(shop.session, shop.folder / "cache"))
    assert axis.name == "llamafactory"
    assert [one.version for one in axis.releases] == [one.version for one in (admits_both, admits_base, newest)]


def test_a_trainer_is_tried_with_the_newest_transformers_and_with_those_that_it_admits(shop):
    shelf = Shelf(shop)
    shelf.kept["transformers"] = [Release("transformers", one) for one in ("5.1", "5.2", "5.3", "5.4.dev0")]
    base, head = shelf.add("llamafactory", "transformers<5.2"), shelf.add("llamafactory", "transformers<5.3")
    axis = choosing.models((base, head), TARGET, shelf, Reader(shop.session, shop.folder / "cache"))
    assert [one.version for one in axis.releases] == ["5.1", "5.2", "5.3"]


# -- what is compared -------------------------------------------------------------------------------------------------


def fault(rule="CKPT001", severity="error", function="llamafactory", error="AttributeError: no `__self__`", **more):
    return Fault(rule, severity, "it reads", [function], READ, PASSED, error=error, **more)


def run(release, verdict="ok", *faults, trainer="0.9.5", model="glm4", function="llamafactory", summary="so"):
    rules = [one.rule for one in faults]
    judged = [Judged(function, verdict, rules=rules)] if verdict != "error" else []
    return Run({"transformers": release, "llamafactory": trainer}, model, verdict, summary, judged, list(faults))


def compared(
    *runs, requires=("transformers<=5.6.0",), unmet=("llamafactory 0.9.5 requires transformers<=5.6.0",), **more
):
    cells = [
        Cell(
            one.stack, one.model, one.verdict, "measured", at, list(unmet) if one.stack["transformers"] == HEAD else []
        )
        for at, one in enumerate(runs)
    ]
    required = {"llamafactory": {"0.9.5": list(requires)}}
    made = Map(MAP, "1", "2026-01-01", "3.11.7", "2.13.0", "linux", {}, list(runs), cells, required)
    found = Compared()
    found.add(made, SIDES, {}, **more)
    return found


WARNING = fault("CKPT003", "warning", error="")


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (run(BASE), run(HEAD, "fail", fault()), "broken"),
        (run(BASE, "fail", fault()), run(HEAD), "working"),
        (run(BASE, "fail", fault()), run(HEAD, "fail", fault("CKPT002")), "otherwise"),
        (run(BASE), run(HEAD, "ok", WARNING), "warned"),
        (run(BASE, "ok", WARNING), run(HEAD), "cleared"),
        (run(BASE), run(HEAD), None),
        (run(BASE, "fail", fault()), run(HEAD, "fail", fault()), None),
        (run(BASE, "ok", WARNING), run(HEAD, "ok", WARNING), None),
    ],
)
def test_only_what_changed_is_told(before, after, kind):
    found = compared(before, after)
    assert [one.kind for one in found.changes] == ([kind] if kind else [])
    assert (found.steps, found.not_compared) == (1, [])


def test_of_each_side_only_its_own_faults_are_told():
    [change] = compared(run(BASE, "fail", fault()), run(HEAD, "fail", fault(), fault("CKPT002"))).changes
    assert (change.base.faults, [one.rule for one in change.head.faults]) == ([], ["CKPT002"])


def test_what_could_not_be_run_is_never_unchanged():
    lost = compared(run(BASE), run(HEAD, "error", summary="It cannot be installed."))
    assert (lost.steps, lost.changes) == (0, [])
    assert lost.not_compared == [NotCompared("It cannot be installed.", "head", ["llamafactory 0.9.5 (glm4)"])]
    unjudged = compared(run(BASE, "not judged"), run(HEAD, "not judged"))
    assert (unjudged.steps, [one.side for one in unjudged.not_compared]) == (0, ["base and head"])
    assert unjudged.not_compared[0].what == ["llamafactory with llamafactory 0.9.5 (glm4)"]


def test_a_function_that_fails_in_one_of_its_steps_fails():
    before, after = run(BASE), run(HEAD, "fail", fault())
    before.functions += [
        Judged("llamafactory", "ok"),
        Judged("llamafactory", "not judged"),
        Judged("llamafactory", "ok"),
    ]
    after.functions += [Judged("llamafactory", "ok"), Judged("llamafactory", "fail"), Judged("llamafactory", "error")]
    found = compared(before, after)
    assert [one.kind for one in found.changes] == ["broken"]
    assert (found.steps, [one.side for one in found.not_compared]) == (2, ["base", "head"])


def test_changes_that_are_alike_are_one_for_all_models_and_functions():
    runs = [
        one
        for model in ("glm4", "llama")
        for name in ("llamafactory", "llamafactory:unsloth")
        for one in (
            run(BASE, model=model, function=name),
            run(HEAD, "fail", fault(function=name), model=model, function=name),
        )
    ]
    merged = [
        msgspec.structs.replace(runs[at], functions=[*runs[at].functions, *runs[at + 2].functions],
                                faults=[*runs[at].faults, *runs[at + 2].faults])
        for at in (0, 1, 4, 5)
    ]  # fmt: skip
    [change] = compared(*merged).changes
    assert change.models == ["glm4", "llama"]
    assert change.functions == ["llamafactory", "llamafactory:unsloth"]


def test_with_trainers_own_call_torchs_functions_are_not_told_again():
    torchs = [run(release, verdict, *faults, function="torch:reentrant") for release, verdict, faults in
              ((BASE, "ok", []), (HEAD, "fail", [fault(function="torch:reentrant")]))]  # fmt: skip
    assert not compared(*torchs, trainer_switches_on=True).changes
    [change] = compared(run(BASE), run(HEAD, "fail", fault()), trainer_switches_on=True).changes
    assert change.trainer_switches_on


def test_those_first_that_the_releases_themselves_admit():
    not_admitted = compared(run(BASE), run(HEAD, "fail", fault())).changes[0]
    admitted = msgspec.structs.replace(not_admitted, unmet=[], models=["llama"])
    assert not not_admitted.admitted
    assert [one.admitted for one in made(changes=[not_admitted, admitted]).of_kind("broken")] == [True, False]


# -- contracts --------------------------------------------------------------------------------------------------------


def observed(layer="GlmLayer", text="functools.partial({}.__call__, mask=...)", keywords=("mask",), **more):
    own = Place(f"/s/site-packages/transformers/models/glm/{layer}.py", 5, f"{layer}.forward", "transformers", BASE)
    wraps = Place("/s/site-packages/transformers/modeling_layers.py", 88, "Base.f.<locals>.g", "transformers", HEAD)
    contract = {"forward": wraps if more.pop("wrapped", False) else own, "returns": "torch.Tensor", "hooks_again": True}
    contract |= {"recomputed": True, "recomputed_if_replaced": True, **more}
    call_ = TrainersCall(
        contract.pop("method", "gradient_checkpointing_enable"), '{"gradient_checkpointing_kwargs": null}', own
    )
    return Evidence(
        "x",
        "returned",
        layers=(Layer("0", layer, 1, 2, 1),),
        handovers=(Handover(CallableInfo("functools.partial", text.format(layer), "p", keywords=keywords), own),),
        contract=Contract((LayerContract(layer, **contract),), ("gradient_checkpointing_enable(kwargs)",), call_),
    )


def test_nothing_is_told_of_contracts_that_are_the_same():
    assert not list(contracts.changes({"glm": observed()}, {"glm": observed()}))


@pytest.mark.parametrize(
    ("after", "watched", "words"),
    [
        ({"text": "functools.partial({}.forward, {})"}, "callable", "functools.partial(Layer.forward"),
        ({"keywords": ("mask", "cache")}, "keywords", "cache"),
        ({"wrapped": True}, "forward", "`Base.f.g` in transformers/modeling_layers.py"),
        ({"recomputed_if_replaced": False}, "forward", "is not recomputed"),
        ({"hooks_again": False}, "hooks", "run once a step"),
        ({"returns": "tuple[torch.Tensor]"}, "returns", "tuple[torch.Tensor]"),
        ({"method": "activation_checkpointing_enable"}, "switch", "activation_checkpointing_enable("),
    ],
)
def test_each_contract_is_watched(after, watched, words):
    text = after.get("text", "").replace("{})", "GlmLayer)")
    [one] = contracts.changes({"glm": observed()}, {"glm": observed(**{**after, **({"text": text} if text else {})})})
    assert (one.watched, one.models) == (watched, ["glm"])
    assert words in one.head
    assert words not in one.base


def test_a_contract_is_told_once_for_all_families_that_change_alike():
    base = {name: observed(layer) for name, layer in (("glm", "GlmLayer"), ("llama", "LlamaLayer"))}
    head = {name: observed(layer, hooks_again=False) for name, layer in (("glm", "GlmLayer"), ("llama", "LlamaLayer"))}
    [one] = contracts.changes(base, head)
    assert one.models == ["glm", "llama"]
    assert contracts.shape(base["glm"]) == contracts.shape(base["llama"]) != contracts.shape(head["glm"])


def test_every_contract_but_the_hooks_has_rules_that_tell_who_relies_on_it():
    known = {watched for rule in rules().values() for watched in rule.watched}
    assert known == set(Watched.__args__) - {"hooks"}


# -- fixes ------------------------------------------------------------------------------------------------------------


def test_the_command_tries_the_head_again():
    change = compared(run(BASE), run(HEAD, "fail", fault())).changes[0]
    head = fixes.Head(None, "transformers", HEAD, "./transformers", ["accelerate==1.0"], str, 60.0)
    assert fixes._with_command(change, head).command == (
        "ckptdoctor check --with ./transformers --with llamafactory==0.9.5 --with accelerate==1.0 --model glm4 "
        "--checkpoint-fn llamafactory --engine none"
    )


# -- what is said of it -----------------------------------------------------------------------------------------------


def change(kind="broken", **more):
    worked, failed = (
        Outcome("ok", "measured", passed_by=PASSED),
        Outcome("fail", "measured", [fault()], "partial", PASSED),
    )
    sides = (worked, failed) if kind == "broken" else (failed, worked)
    remedy = Remedy("patch", "patch it", "none", "it was tried", ("pip install x",), "--- a\n+++ b\n", proven="all")
    given = {"models": ["glm4"], "remedies": [remedy], **more}
    return Change(kind, ["llamafactory"], {"llamafactory": "0.9.5"}, base=sides[0], head=sides[1], **given)


def contract(**more):
    line = Reliance("axolotl", "0.21.0", READ, "replaces forward", "certain", "checkpointing is silently off")
    return ContractChange("forward", "the layer's own class", "`g` in f.py", ["glm4"], [line], **more)


def made(**more):
    given = {
        "changes": [],
        "contracts": [],
        "not_compared": [],
        "compared": 4,
        "families": ["glm4"],
        "files": [],
        "tried": {},
    }
    given |= {"base": Side(BASE), "head": Side(HEAD), **more}
    return Impact(SCHEMA, "0.1.0", "2026-01-01", "3.11.7", "2.13.0", "linux x86_64", "transformers", **given)


UNKNOWN = NotCompared("It cannot be installed.", "head", ["axolotl 0.21.0 (glm4)"])


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (made(changes=[change()]), ExitStatus.FOUND),
        (made(changes=[change("working")], contracts=[contract()]), ExitStatus.OK),
        (made(compared=0), ExitStatus.OK),
        (made(not_compared=[UNKNOWN]), ExitStatus.OK),
        (made(not_compared=[UNKNOWN], compared=0), ExitStatus.UNDIAGNOSED),
    ],
)
def test_the_exit_status_is_1_only_if_something_is_newly_broken(found, status):
    assert found.status is status


WHOLE = made(changes=[change(), change("working")], contracts=[contract()], not_compared=[UNKNOWN], notes=["A note."])


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_all_of_it_is_shown(name):
    text = render(name, WHOLE, SHOWN).replace("\\", "")
    for words in (
        "transformers 5.22.2 ", "Newly broken", "Newly working", "llamafactory/checkpointing.py:86", "pip install x",
        "transformers/modeling_layers.py:120", "no `__self__`", "1 trainer relies on it", "checkpointing is silently off",
        "could not be compared", "It cannot be installed.", "A note.", "1 line of trainers",
    ):  # fmt: skip
        assert words in " ".join(text.split()) or words.replace("`", "") in text.replace("`", ""), words


def test_nothing_run_is_said():
    assert "Nothing was run." in render("text", made(compared=0), SHOWN)
    assert "same code" in render("text", made(compared=0, head=Side(BASE)), SHOWN)


def test_a_source_is_called_as_people_call_it():
    head = Side("5.24.0.dev0+src0123456789abcdef", Source("./transformers", "abcdef1234567890", edited=True))
    found = made(head=head, notes=["In 5.24.0.dev0+src0123456789abcdef."], compared=1)
    for name in ("text", "markdown", "sarif"):
        assert "src0123456789abcdef" not in render(name, found, SHOWN)
    assert "5.24.0.dev0 (./transformers)" in render("text", found, SHOWN)
    assert "commit abcdef1234" in render("text", found, SHOWN)


def test_json_keeps_to_its_schema_and_is_read_back(tmp_path):
    from importlib import resources

    shipped = (resources.files("ckptdoctor.output.impact") / "impact.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(), "write schema_text() to impact.schema.json"
    text = render("json", WHOLE, SHOWN)
    Draft202012Validator(schema()).validate(json.loads(text))
    (tmp_path / "impact.json").write_text(text)
    for name in formats("impact"):
        ran = call("impact", "--read", tmp_path / "impact.json", "--format", name)
        assert (ran.status, ran.out) == (1, render(name, WHOLE, SHOWN)), ran.err


def test_sarif_is_valid_and_levels_tell_what_is_broken(sarif_schema):
    log = json.loads(render("sarif", WHOLE, SHOWN))
    sarif_schema.validate(log)
    results = log["runs"][0]["results"]
    assert [one["level"] for one in results] == ["error", "none", "warning"]
    where = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert where == PASSED.file  # the line of the package that changed comes first


@pytest.fixture(scope="module")
def sarif_schema():
    from tests.test_ci_formats import kept

    return Draft202012Validator(kept("https://json.schemastore.org/sarif-2.1.0.json"))


# -- a comment on GitHub ----------------------------------------------------------------------------------------------


def test_a_comment_stays_under_githubs_limit_and_every_fold_is_closed():
    long = Remedy("patch", "patch it", "", "", (), "+" + "x" * 300 + "\n" * 2000, proven="all")
    changes = [change(models=[f"family{at}"], remedies=[long]) for at in range(400)]
    text = render("markdown", made(changes=changes, contracts=[contract()] * 50, not_compared=[UNKNOWN]), SHOWN)
    assert len(text) <= LIMIT < 65_536
    assert text.count("<details>") == text.count("</details>") > 20
    assert re.search(r"\d+ more did not fit into a comment", text)
    assert "It cannot be installed." in text  # what is not known is never cut off


HOSTILE = "</details><script>alert(1)</script> @octocat #1 https://evil.example ![x](y) `` ` <!-- -->"


def test_nothing_in_a_comment_is_markup_a_mention_or_a_link():
    place = msgspec.structs.replace(READ, file=HOSTILE, code=HOSTILE)
    bad = Fault("CKPT001", "error", HOSTILE, [HOSTILE], place, place, HOSTILE, HOSTILE)
    outcome = Outcome("fail", "measured", [bad], HOSTILE, place)
    remedy = Remedy("patch", HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), f"```\n{HOSTILE}\n")
    one = Change("broken", [HOSTILE], {HOSTILE: HOSTILE}, [HOSTILE], outcome, outcome, unmet=[HOSTILE], remedies=[remedy],
                 unsearched=HOSTILE, command=HOSTILE)  # fmt: skip
    line = Reliance(HOSTILE, HOSTILE, place, HOSTILE, "certain", HOSTILE)
    found = made(
        changes=[one], contracts=[ContractChange("forward", HOSTILE, HOSTILE, [HOSTILE], [line])], notes=[HOSTILE],
        not_compared=[NotCompared(HOSTILE, "head", [HOSTILE])], files=[HOSTILE], tried={HOSTILE: [HOSTILE]},
        head=Side("1.0+src0123456789abcdef", Source(HOSTILE, "0123456789", edited=True)),
    )  # fmt: skip
    text = render("markdown", found, SHOWN)
    assert text.startswith(MARKER)
    shown = MarkdownIt("commonmark").enable("table").render(text)
    outside = re.sub(r"(?s)<(code|pre)\b.*?</\1>", "", shown)
    assert outside.count("<details>") == outside.count("</details>") == 3
    assert "<script" not in shown
    assert "<img" not in outside
    assert not re.search(r"@octocat|#1\b|https://|<a ", outside)


# -- the command line -------------------------------------------------------------------------------------------------


def test_both_sides_are_needed():
    ran = call("impact", "--base", "transformers==5.22.2")
    assert ran.status == 2
    assert "--head" in ran.err


def test_a_trainers_function_needs_its_release():
    ran = call("impact", "--base", "transformers==1", "--head", "transformers==2", "--checkpoint-fn", "llamafactory")
    assert ran.status == 2
    assert "--with llamafactory==RELEASE" in ran.err


@pytest.mark.parametrize("text", ["{", "{}", '{"schema": 1}', "\xff", json.dumps({"schema": "ckptdoctor/map/1"})])
def test_what_is_no_impact_is_refused(text, tmp_path):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    ran = call("impact", "--read", tmp_path / "x.json")
    assert ran.status == 2
    assert "is no impact" in ran.err
    assert call("impact", "--read", tmp_path / "none.json").status == 2


# -- the workflows ----------------------------------------------------------------------------------------------------

WORKFLOWS = Path(__file__).parent.parent / ".github" / "workflows"

GH = """#!{python}
import json, shutil, sys
from pathlib import Path
said = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(said) + "\\n")
if said[:2] == ["run", "download"]:
    folder = Path(said[said.index("--dir") + 1])
    folder.mkdir()
    shutil.copy({impact!r}, folder / "impact.json")
elif "--input" in said:
    shutil.copy(said[said.index("--input") + 1], {sent!r})
elif "--slurp" in said:
    print(json.dumps([{comments}]))
else:
    print(json.dumps([{{"number": 7, "head": {{"sha": "abc"}}}}, {{"number": 8, "head": {{"sha": "def"}}}}]))
"""


VENV = """#!/bin/sh
mkdir -p doctor/bin
printf '#!/bin/sh\\nexit 0\\n' > doctor/bin/pip
printf '#!/bin/sh\\nexec {python} -m ckptdoctor "$@"\\n' > doctor/bin/ckptdoctor
chmod +x doctor/bin/*
"""
"""In the place of ``python3 -m venv``: a wheel of ckptdoctor would have to be built first."""


def step(name, folder, **environ):
    """Run a step of the comment's workflow as a runner does, with a stand-in for GitHub."""
    steps = yaml.safe_load((WORKFLOWS / "impact-comment.yml").read_text())["jobs"]["comment"]["steps"]
    [script] = [one["run"] for one in steps if one["name"] == name]
    output = folder / "output"
    output.touch()
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "RUNNER_TEMP": str(folder), "GITHUB_OUTPUT": str(output)}
    given |= {"REPOSITORY": "a/b", "CKPTDOCTOR_CACHE": str(folder / "cache"), **environ}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    return done.returncode, output.read_text(), done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("jq"), reason="GitHub's runners have jq")
@pytest.mark.parametrize("posted", [[], [{"id": 5, "user": {"type": "Bot"}, "body": f"{MARKER}\nold"}]])
def test_one_comment_is_posted_and_updated_by_a_job_that_trusts_nothing_of_the_pull_request(tmp_path, posted):
    log, sent, impact = (tmp_path / name for name in ("log", "sent", "given.json"))
    impact.write_text(render("json", made(changes=[change()], notes=[HOSTILE]), SHOWN))
    others = [{"id": 4, "user": {"type": "User"}, "body": f"{MARKER} of somebody else"}]
    gh = GH.format(python=sys.executable, log=str(log), sent=str(sent), impact=str(impact), comments=[*others, *posted])
    (tmp_path / "gh").write_text(gh)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "python3").write_text(VENV.format(python=sys.executable))
    (tmp_path / "python3").chmod(0o755)

    status, output, said = step("Pull request", tmp_path, OWNER="o", BRANCH="$(touch x)", COMMIT="def")
    assert (status, output) == (0, "number=8\n"), said
    status, _, said = step("Comment", tmp_path, DOCTOR="ckptdoctor", RUN="1", NUMBER="8")
    assert status == 0, said
    body = json.loads(sent.read_text())["body"]
    assert body == render("markdown", made(changes=[change()], notes=[HOSTILE]), SHOWN)
    last = json.loads(log.read_text().splitlines()[-1])
    where = "repos/a/b/issues/comments/5" if posted else "repos/a/b/issues/8/comments"
    assert where in last


def test_the_job_that_runs_a_pull_request_may_only_read_and_the_one_that_writes_checks_nothing_out():
    runs, writes = (yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text()) for name in ("impact", "impact-comment"))
    assert runs["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in runs["jobs"].values())
    assert (writes["permissions"], [*writes["jobs"]["comment"]["permissions"]]) == ({}, ["actions", "pull-requests"])
    assert not [one for one in writes["jobs"]["comment"]["steps"] if "uses" in one]
    for workflow in (runs, writes):
        for one in (one for job in workflow["jobs"].values() for one in job["steps"]):
            assert "${{" not in one.get("run", ""), "texts reach a script only through its environment"
            assert re.search(r"@[0-9a-f]{40}$", one.get("uses", "@" + "0" * 40)), "pinned by hash"
