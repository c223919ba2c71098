"""Source of the user's own keeps running, loses its secrets, and what it loses is taken out of all that repeats it."""

from __future__ import annotations

import ast
import inspect
import json

import pytest

from ckptdoctor.bugreport import gitleaks_rules, model_config, private, source
from ckptdoctor.bugreport.machine import facts
from ckptdoctor.bugreport.redact import Redactor
from ckptdoctor.model.evidence import Environment, Package

HEX = "0f1e2d3c4b5a6978"
MIXED = "aB3xY9kQ2mZ7pL4w"


def redactor():
    return Redactor(
        facts({"HOME": "/home/zoe.keller", "USER": "zoe.keller"}, {}, private={"acme-core": "<repository>"})
    )


def cleaned(text):
    return source.clean(text, redactor())[0]


SECRETS = {
    "Azure's account key": "AccountKey=" + MIXED * 5 + "aBcDeF==",
    "Azure's shared signature": "https://x.example/c?sv=2022-11-02&ss=b&si" + "g=" + MIXED * 2 + "%3D",
    "SendGrid": "S" + "G." + MIXED + "aBcDe1." + MIXED * 2,
    "Databricks": "da" + "pi" + HEX * 2,
    "Vault": "hv" + "s." + MIXED * 4,
    "DigitalOcean": "do" + "p_v1_" + HEX * 4,
    "Groq": "gs" + "k_" + MIXED * 3,
    "xAI": "xa" + "i-" + MIXED * 4,
    "ModelScope": "m" + f"s-{HEX[:8]}-{HEX[:4]}-{HEX[4:8]}-{HEX[8:12]}-{HEX[:12]}",
    "Neptune": "ey" + "JhcGlfYWRkcmVzcyI6" + MIXED * 4 + "==",
    "Stripe": "sk_" + "live_" + MIXED * 2,
    "Telegram": "123456789:" + "AA" + MIXED * 2 + "x",
    "an international phone number": "+49 151" + " 2345 6789",
    "a phone number": "(555) " + "123-4567",
    "a MAC address": "a4:bb:6d:" + "12:9f:0e",
    "a MAC address with dashes": "A4-BB-6D-" + "12-9F-0F",
    "a webhook's path": "/services/" + "T0ABCDEF12/B0ABCDEF12/" + MIXED,
    "a random string": MIXED * 2,
    "random digits": HEX * 3,
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found_in_literals_comments_and_text(kind):
    secret = SECRETS[kind]
    part = secret.rpartition("=")[2] if kind.endswith("signature") else secret.removeprefix("/services/")
    shown = cleaned(f'x = "{secret}"  # {secret}\ny = f"{{x}} {secret}"\n"""\n{secret}\n"""\nz = 1\n')
    ast.parse(shown)
    assert part not in shown
    assert shown.count("\n") == 6
    if not kind.startswith("random") and not kind.startswith("a random"):
        text = redactor().clean(f"ValueError: no {secret} there")
        assert part not in text
        assert redactor().clean(text) == text


BY_NAME = [
    'connect(host="db7", user="svc", password="{}")',
    'connect("db", passwd="{}")',
    'auth = {{"password": "{}"}}',
    'os.environ["MY_PASSWORD"] = "{}"',
    'os.environ.setdefault("MY_PASSWORD", "{}")',
    'def f(api_key="{}"): pass',
    'if password == "{}": pass',
    'secret = b64decode("{}")',
    'credentials = ("me", "{}")',
    'cookies = {{"a": "{}"}}',
    'db.password: str = "{}"',
    'api_key = "{}" + "more"',
]


@pytest.mark.parametrize("line", BY_NAME)
def test_a_secret_is_known_by_what_it_is_given_to_and_taken_out_of_messages(line):
    known = redactor()
    secret = "horse" + "battery"
    text = line.format(secret) + "\n"
    shown, found = source.clean(text, known)
    ast.parse(shown)
    assert secret not in shown
    known.learn(found, "a string")
    assert secret not in known.clean(f"ValueError: no {secret} there")


@pytest.mark.parametrize("line", ['x = "{}" "{}"', 'x = "{}" + "{}"', 'key_pw = ("{}"\n  "{}")'])
def test_a_secret_in_pieces_goes_whole(line):
    for secret in (MIXED, HEX, "da" + "pi" + HEX * 2) if line.startswith("key") else ("da" + "pi" + HEX * 2,):
        one, other = secret[:7], secret[7:]
        shown = cleaned(line.format(one, other))
        ast.parse(shown)
        assert one not in shown
        assert other not in shown


STAYS = """\
IGNORE_TOKEN_ID = -100
CACHE_KEY = "past"
MAX_TOKEN = 512
IMAGE_TOKEN = r"<image>\\d"
token = os.environ["HF_TOKEN"]
key = "model.layers.0.self_attn.q_proj.weight"
token_type = 'bfloat16'  # token: bfloat16
sort_key = lambda key: key["Seq2SeqTrainingArguments"]
password = os.getenv("DB_PASSWORD")
names = ["M2M100ForConditionalGeneration", "01-ai/Yi-34B-Chat-4bits", "stage3_gather_16bit_weights_on_model_save"]
labels = {"api_key": {"en": {"label": "API key (optional)"}}}
raise ValueError(f"expected {key!r:>10} of {{shape}}, \\n got 'x'")
"""


def test_what_is_no_secret_stays_to_the_letter():
    assert cleaned(STAYS) == STAYS


@pytest.mark.parametrize("module", [ast, inspect, json, json.decoder])
def test_files_of_others_still_are_programs_with_the_same_names_and_lines(module):
    text = inspect.getsource(module)
    shown = cleaned(text)
    assert shown.count("\n") == text.count("\n")
    assert names(shown) == names(text)


def names(text):
    return [
        (node.name, node.lineno)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]


def test_names_of_people_and_repositories_are_taken_out_of_names_and_literals():
    known = Redactor(facts({"HOME": "/home/zkeller", "USER": "zkeller"}, {}, private={"acme-core": "<repository>"}))
    shown = source.clean("import acme_core\ndef zkeller_f():\n    return 'acme-core of zkeller'\n", known)[0]
    assert shown == "import repository\ndef user_f():\n    return '<repository> of <user>'\n"


def test_escapes_of_a_literal_stay_beside_what_is_taken_out():
    literal = '"""\n    "<|AUDIO|>\\n" of 10.1.2.3\n"""\n'
    assert cleaned(literal) == literal.replace("10.1.2.3", "<ip>")


def test_a_file_that_is_no_program_is_cleaned_by_lines():
    secret = "da" + "pi" + HEX * 2
    shown = cleaned(f"def f(:\n  x = '{secret}'\n")
    assert secret not in shown
    assert shown.count("\n") == 2


TEXTS = [
    "key: torch.Size([1, 8, 16])",
    "token: 15043",
    "MAX_TOKEN=512 IGNORE_TOKEN_ID=-100",
    "KeyError: key = model.layers.0.weight",
]


@pytest.mark.parametrize("text", TEXTS)
def test_numbers_shapes_and_names_are_no_secrets(text):
    assert redactor().clean(text) == text


def test_releases_in_four_parts_stay_and_addresses_go():
    clean = redactor().clean
    for text in ("version 1.2.3.4", "foo-1.2.3.4.tar.gz", "nvidia_nccl_cu12 2.21.5.1", "foo==1.2.3.4", "CUDA 12.4.5.8"):
        assert clean(text) == text
    for text in ("connect to 10.1.2.3", "inet 8.8.4.4", "host=172.16.0.9"):
        assert "<ip>" in clean(text)


def test_a_path_below_packages_tells_the_file_wherever_it_is():
    text = "/app/.venv/lib/python3.11/site-packages/torch/x.py"
    for folders in ({}, {"/app": "<project>"}):
        assert redactor().clean(text).endswith("/site-packages/torch/x.py")
        known = Redactor(facts({"HOME": "/app", "USER": "app"}, folders))
        assert known.clean(text).endswith("/site-packages/torch/x.py")


def test_the_published_rules_are_all_read():
    assert len(gitleaks_rules.rules()) > 200


# Packages, repositories, configurations


def test_packages_that_were_installed_from_a_folder_are_private_but_for_public_ones(tmp_path):
    site = tmp_path / "site-packages"
    for name in ("acme_kernels", "llamafactory", "six"):
        (site / f"{name}-1.2.dist-info").mkdir(parents=True)
    for name in ("acme_kernels", "llamafactory"):
        url = {"url": "file:///srv/acme/kernel-repo", "dir_info": {"editable": True}}
        (site / f"{name}-1.2.dist-info" / "direct_url.json").write_text(json.dumps(url))
    packages = [Package(name, "1.2", str(site)) for name in ("acme-kernels", "llamafactory", "six")]
    found = private.packages(Environment("3.11", "python", "linux", packages, ["llamafactory"]))
    assert found == {"acme-kernels": ["kernel-repo"]}


def test_a_repository_tells_its_owners(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(
        '[remote "origin"]\n\turl = git@git.acme.example:acmecorp/moonshot.git\n'
        '[remote "up"]\n\turl = https://github.com/hiyouga/LLaMA-Factory\n[user]\n\tname = Zoe Keller\n'
    )
    names, people, urls = private.repositories(tmp_path)
    assert {"acmecorp", "moonshot"} == {*names}
    assert "Zoe Keller" in people
    assert "ssh://git.acme.example/acmecorp/moonshot.git" in urls


def test_a_configuration_keeps_what_its_class_reads(tmp_path):
    folder = tmp_path / "transformers" / "models" / "glm4"
    folder.mkdir(parents=True)
    (folder / "configuration_glm4.py").write_text(
        "def f(hidden_size, hidden_act, rope_scaling, id2label, factor, head_name): glm4"
    )
    config = {
        "model_type": "glm4", "hidden_size": 64, "hidden_act": "silu", "rope_scaling": {"factor": 2.0, "mine": "x"},
        "id2label": {"0": "secret disease"}, "_name_or_path": "/x", "codename": 7, "head_name": "moonshot", "note": "Zoe",
    }  # fmt: skip
    assert json.loads(model_config.reduced(json.dumps(config), str(tmp_path))) == {
        "model_type": "glm4",
        "hidden_size": 64,
        "hidden_act": "silu",
        "rope_scaling": {"factor": 2.0},
    }
    assert model_config.reduced("no json", str(tmp_path)) == "{}\n"
