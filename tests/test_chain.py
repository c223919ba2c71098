"""The call chain of a finding: which links there are, which one fails, and where what was ruled out stands."""

from __future__ import annotations

import msgspec
import pytest

from ckptdoctor.model.evidence import Attribute, CallableInfo, Error, Evidence, Gradients, Handover, Layer, Place
from ckptdoctor.model.report import RuledOut
from ckptdoctor.output.views import chain
from tests.test_output import CULPRIT, ERROR, GIVER, failing, finding, healthy, probe
from tests.values import frozen

HOLDS = CallableInfo(
    "functools.partial",
    "functools.partial(Glm4DecoderLayer.__call__)",
    "functools.partial",
    inner=CallableInfo("bound method", "Glm4DecoderLayer.__call__", "method", GIVER),
)
LAYERS = (Layer("model.layers.0", "Glm4DecoderLayer", 1, 2, 1), Layer("model.layers.1", "Glm4DecoderLayer", 1, 2, 1))


def seen(function="llamafactory", outcome="ok", engine="none", **more):
    made = probe(function, outcome, engine=engine)
    handed = Handover(HOLDS, GIVER)
    given = {"model_class": "Glm4ForCausalLM", "family": "glm4", "handovers": (handed,), "layers": LAYERS, **more}
    return msgspec.structs.replace(made, evidence=msgspec.structs.replace(made.evidence, **given))


def report(*probes):
    return msgspec.structs.replace(failing(), probes=tuple(probes))


def found(*probes, ruled_out=(), **more):
    ids = tuple(one.id for one in probes)
    given = {"probes": ids, "callable": HOLDS, "ruled_out": tuple(ruled_out), **more}
    return msgspec.structs.replace(frozen(finding()), **given)


def ruled(package):
    return RuledOut(package, "1.0", f"{package} does not do it", ())


def links(*probes, **more):
    return {link.role: link for link in chain.of_finding(found(*probes, **more), report(*probes))}


def test_every_link_is_named_in_the_order_of_the_call():
    failed = seen(outcome="triggered")
    made = chain.of_finding(found(failed), report(failed))

    assert [(link.role, link.name) for link in made] == [
        ("engine", "no engine"),
        ("model", "Glm4ForCausalLM"),
        ("layer", "Glm4DecoderLayer"),
        ("callable", "functools.partial(Glm4DecoderLayer.__call__)"),
        ("checkpoint function", "llamafactory"),
        ("read by", CULPRIT.code),
    ]
    assert [link.is_fault for link in made] == [False] * 5 + [True]
    assert made[-1].facts == (f"{ERROR.type}: {ERROR.message}",)


@pytest.mark.parametrize(
    ("where", "lacking"), [("callable", ["__self__", ""]), ("callable.func", ["", "__self__"]), ("", ["", ""])]
)
def test_the_part_that_lacks_the_attribute_is_marked_and_no_other(where, lacking):
    error = Error("AttributeError", "no", attribute=Attribute("__self__", "function", where))

    callable_ = links(seen(outcome="triggered"), error=error)["callable"]

    assert [part.lacks for part in callable_.parts] == lacking


@pytest.mark.parametrize(
    ("package", "engines", "own", "beside"),
    [
        ("deepspeed", ["none"], "", "engine"),
        ("deepspeed", ["none", "zero3"], "", "engine"),
        ("deepspeed", ["zero1", "zero3"], "engine", ""),
        ("torch", ["none"], "", "checkpoint function"),
        (
            "torch",
            ["ddp", "fsdp2"],
            "",
            "checkpoint function",
        ),  # its checkpoint function was run, and not another engine
        ("transformers", ["zero3"], "model", ""),
        ("llamafactory", ["none"], "checkpoint function", ""),
    ],
)
def test_what_was_ruled_out_is_the_link_that_it_owns_or_stands_beside_the_nearest(package, engines, own, beside):
    probes = [seen(outcome="triggered", engine=engine) for engine in engines]

    made = links(*probes, ruled_out=[ruled(package)])

    assert {role for role, link in made.items() if link.ruled_out} == {own} - {""}
    assert {role for role, link in made.items() if link.beside} == {beside} - {""}


def test_the_line_that_fails_is_never_ruled_out():
    assert not links(seen(outcome="triggered"), ruled_out=[ruled("llamafactory")])["read by"].ruled_out


def test_without_a_line_to_blame_the_chain_ends_in_what_went_wrong():
    silent = links(seen(outcome="triggered"), culprit=None, error=None, title="2 gradients are missing")

    assert silent["result"].name == "2 gradients are missing"
    assert silent["result"].is_fault


def test_what_was_not_observed_is_left_out():
    failed = probe("llamafactory", "failed")
    bare = found(failed, callable=None, passed_by=None)

    assert [link.role for link in chain.of_finding(bare, report(failed))] == [
        *["engine", "model", "checkpoint function", "read by"]
    ]
    assert chain.of_finding(msgspec.structs.replace(bare, probes=()), report()) == []


def test_what_works_names_only_functions_that_went_the_same_way_and_were_run_whole():
    ok = [seen("torch:reentrant", gradients=Gradients(3)), seen("llamafactory", gradients=Gradients(3))]
    simulated = seen("llamafactory:unsloth", forward_only=True)
    under_engine = seen("axolotl", engine="zero3", gradients=Gradients(3))

    made = chain.of_what_works(report(*ok, simulated, under_engine))

    assert [link.name for link in made if link.role in ("engine", "checkpoint function")] == [
        *["no engine", "torch:reentrant and llamafactory"]
    ]
    assert made[-1].facts == (
        "each layer runs once more in the backward pass",
        "all gradients are as without checkpointing",
    )


@pytest.mark.parametrize(
    "more",
    [
        {"gradients": Gradients(3, missing=("a",)), "layers": (Layer("l", "L", 1, 1, 1),)},
        {"gradients": None, "layers": ()},
        {"gradients": Gradients(0), "layers": ()},
    ],
)
def test_what_works_claims_nothing_that_a_step_has_not_shown(more):
    made = chain.of_what_works(report(seen(gradients=Gradients(3)), seen("torch:reentrant", **more)))

    assert (
        made[-1].facts == ("each layer runs once more in the backward pass",)
        if not more["layers"]
        else made[-1].facts == ()
    )


def test_a_report_without_steps_has_no_chain():
    assert chain.of_what_works(msgspec.structs.replace(healthy(), probes=())) == []


def test_places_are_relative_to_the_folder_of_packages():
    place = Place(
        "/env/lib/python3.11/site-packages/transformers/models/glm4/modeling_glm4.py", 5, package="transformers"
    )

    assert (
        links(seen(outcome="triggered", model_place=place))["model"].where
        == "transformers/models/glm4/modeling_glm4.py:5"
    )


def test_an_evidence_of_any_kind_makes_a_chain():
    odd = msgspec.structs.replace(seen(outcome="triggered"), evidence=Evidence("x", "crashed"))

    assert chain.of_finding(found(odd), report(odd))[-1].is_fault


@pytest.mark.parametrize("during", ["load", "build", "plain", "enable", "engine"])
def test_a_step_that_ended_before_checkpointing_shows_no_chain(during):
    ended = seen(outcome="failed", during=during, handovers=())

    assert chain.of_finding(found(ended, callable=None, passed_by=None), report(ended)) == []


def test_a_layer_whose_callable_was_not_seen_is_passed_to_the_function():
    ended = seen(outcome="failed", during="forward", handovers=())

    made = links(ended, callable=None, passed_by=None)

    assert made["layer"].leads == "is passed to"
    assert "callable" not in made
