"""Nothing private passes the redactor, however it is written; what a maintainer needs does."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from ckptdoctor.bugreport.machine import Facts, facts
from ckptdoctor.bugreport.placeholders import CACHE, HOME, PROJECT, TOKEN, VENV
from ckptdoctor.bugreport.redact import Redactor

HOME_FOLDER = "/home/zoe.keller"
SECRETS = {
    "HF_TOKEN": "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "OPENAI_API_KEY": "sk-proj-" + "a1B2c3D4" * 5,
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "DB_PASSWORD": 'p/a+s s"w\\ö:rd#1',
    "MULTI_SECRET": "-----line-one-of-the-secret-----\nline-two-of-the-secret",
}
ENVIRON = {
    "HOME": HOME_FOLDER,
    "USER": "zoe.keller",
    "HOSTNAME": "gpu-box7.acme-lab.example",
    "https_proxy": "http://zoe:pr0xy%40pass@proxy.acme-lab.example:3128",
    "PIP_INDEX_URL": "https://bot:s3cr3tpass@pypi.acme-lab.example/team/simple",
    "no_proxy": "localhost,.intra-acme.example,10.1.2.3",
    "PATH": "/usr/bin:/bin",
    "TOKENIZERS_PARALLELISM": "false",
    "SECRET_BACKEND": "transformers",
    **SECRETS,
}
PACKAGES = {"torch": "2.13.0", "transformers": "4.51.3", "nvidia-cublas-cu12": "12.4.5.8", "deepspeed": "0.16.4"}
FOLDERS = {f"{HOME_FOLDER}/secret-project": PROJECT, f"{HOME_FOLDER}/envs/train": VENV, "/models": PROJECT}


@pytest.fixture(scope="module")
def redactor():
    return Redactor(facts(ENVIRON, FOLDERS, packages=PACKAGES))


def of(**known):
    return Redactor(Facts(**known))


ENCODINGS = {
    "as it is": str,
    "upper case": str.upper,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON with slashes as units": lambda text: json.dumps(text)[1:-1].replace("/", "\\u002f"),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[2:-2],
    "Python": lambda text: repr(text)[1:-1],
    "Python, ASCII": lambda text: ascii(text)[1:-1],
    "URL": lambda text: quote(text),
    "URL, all": lambda text: quote(text, safe=""),
    "URL, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "URL, lower case": lambda text: quote(text, safe="").replace("%2F", "%2f").replace("%3A", "%3a"),
}
AROUND = [
    "{}",
    "x = {}",
    'File "{}", line 3',
    "see {}, please",
    "({})",
    "--option={}",
    "'{}'",
    "a\\n{}\\nb",
    "<{}>",
    "a|{}|b",
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "value", [*SECRETS.values(), f"{HOME_FOLDER}/secret-project/run.py", "pr0xy@pass", "s3cr3tpass"]
)
def test_what_is_known_is_found_in_every_encoding_and_place(redactor, encoding, value):
    written = ENCODINGS[encoding](value)
    for around in AROUND:
        cleaned = redactor.clean(around.format(written))
        for part in (written, *(line for line in written.splitlines() if line)):
            assert part.lower() not in cleaned.lower(), around
        for private in ("zoe", "keller", "secret-project", "line-two"):
            assert private not in cleaned.lower(), around
        assert redactor.clean(cleaned) == cleaned, around


@pytest.mark.parametrize("offset", range(3))
def test_a_secret_is_found_in_base64(redactor, offset):
    coded = base64.b64encode(b"u:x"[:offset] + SECRETS["DB_PASSWORD"].encode()).decode()
    assert coded[4:-4] not in redactor.clean(f"see {coded} there")
    assert redactor.leaks(f"see {coded} there") == ["DB_PASSWORD"]


BY_FORM = {
    "hf_" + "Qw3rTy" * 6: "",
    "sk-ant-api03-" + "Ab1_cd-" * 6: "",
    "ghp_" + "a1B2" * 9: "",
    "github_pat_" + "11AB_" * 8: "",
    "glpat-" + "Ab12" * 5: "",
    "xoxb-1234567890-abcdefghij": "",
    "AKIA" + "ABCD1234EFGH5678": "",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": "",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123": "",
    "AIza" + "Sy0123456789" * 3: "",
    "fedcba9876543210fedcba9876543210fedcba98": "wandb: key {}",
    "0f1e2d3c4b5a69780f1e2d3c4b5a69780f1e2d3c": 'api_key="{}"',
    "tok.en-Value_99": "Authorization: Bearer {}",
    "dXNlcjpwYXNzd29yZA==": "Proxy-Authorization: Basic {}",
    "hunter2": "MY_PASSWORD={}",
    "hunter22": "password: {}",
    "hunter23": "'password': '{}',",
    "hunter24": '\\"db_secret\\": \\"{}\\"',
    "hunter25": "--api-key {}",
    "hunter26": "export SOME_SERVICE_TOKEN='{}'",
    "hunter27": "AWS_SECRET_ACCESS_KEY = {}",
    "hunter28": "machine api.wandb.ai login me password {}",
    "hunter29": "https://me:{}@github.com/a/b",
    "hunter30": "https://huggingface.co/x?token={}&y=1",
    "hunter31": "Cookie: session={}; a=b",
    "jane.doe@acme.example": "",
    "10.20.30.40": "connect to {}:8080",
    "192.168.1.17": "",
    "8.8.4.4": "MASTER_ADDR={}",
    "fe80::1ff:fe23:4567:890a": "",
    "2001:db8::8a2e:370:7334": "[{}]:443",
    "bob": "/home/{}/x.py",
    "bobby": "C:\\Users\\{}\\x.py",
    "robert": "c:/users/{}/x.py",
    "roberta": "C:\\\\Users\\\\{}\\\\AppData",
    "bert": "/Users/{}/x.py",
    "alba": "/data/home/{}/x.py",
    "alma": "%2Fhome%2F{}%2Fx.py",
    "elsa": "\\u002fhome\\u002f{}\\u002fx.py",
    "acme-corp": "/data/{}/deep/x.py",
    "acme-gmbh": "llamafactory @ file:///srv/{}/x/llamafactory",
    "acme-inc": "D:\\work\\{}\\x.py",
    "nexus.acme-ag.example": "--index-url https://{}/repository/simple",
    "wheels.acme-ag.example": "https:\\/\\/{}\\/simple",
}


@pytest.mark.parametrize("value", BY_FORM)
def test_what_is_private_by_its_form_is_found_unknown(value):
    around = BY_FORM[value] or "see {} there"
    cleaned = of().clean(around.format(value))
    assert value not in cleaned
    assert of().clean(cleaned) == cleaned
    if around == "see {} there":
        assert cleaned.startswith("see <")
        assert cleaned.endswith("> there")


@pytest.mark.parametrize("end", ["-----END RSA PRIVATE KEY-----\nafter", ""])
def test_key_blocks_go_whole_and_cut(end):
    lines = "\n".join(["MIIEpAIBAAKCAQEA7" + "x" * 47] * 3)
    for block in (lines, lines.replace("\n", "\\n")):
        cleaned = of().clean(f"before\n-----BEGIN RSA PRIVATE KEY-----\n{block}\n{end}")
        assert "MIIE" not in cleaned
        assert cleaned.startswith("before\n<token>")
        assert cleaned.endswith("after") == bool(end)
    assert "MIIE" not in of().clean(f"{lines}\n-----END RSA PRIVATE KEY-----")


FACTS = [
    "AttributeError: 'functools.partial' object has no attribute '__self__'",
    'File "<venv>/lib/python3.11/site-packages/transformers/models/glm4/modeling_glm4.py", line 577, in forward',
    "transformers/models/glm4/modeling_glm4.py:577 and torch/nn/modules/module.py:1778",
    "nvidia-cublas-cu12==12.4.5.8 nvidia-cuda-nvrtc-cu12>=12.1.3.1 driver 550.54.15",
    "[conda] nvidia-cudnn-cu12 9.1.0.70 pypi_0 pypi",
    "nvidia_cudnn_cu12-9.1.0.70-py3-none-manylinux2014_x86_64.whl and libcudnn.so.9.1.0.70",
    "cuDNN version: 8.9.2.26",
    "/usr/local/cuda-12.4/lib64/libcudart.so.12 and /opt/conda/lib/python3.11/site-packages/torch/_C.so",
    "127.0.0.1:29500 and 0.0.0.0",
    "config.pad_token_id = 0; eos_token='</s>'; num_key_value_heads=2; key_states = self.k_proj(x)",
    "pad_token: '<pad_token>'; tokenizer=AutoTokenizer; past_key_values=None; next_token = logits.argmax(-1)",
    'token = os.environ["HF_TOKEN"]',
    "sorted(names, key=lambda name: name.lower())",
    "KeyError: 'HF_TOKEN'",
    "hf_grad_checkpoint_disk_offload_wrapper",
    "see https://github.com/huggingface/transformers/blob/v4.40.0/src/transformers/modeling_utils.py",
    "https://pytorch.org/docs/stable/checkpoint.html",
    "at::Tensor c10::add torch::autograd::Function 2026-11-24 07:34:18",
    "commit 0f1e2d3c4b5a69780f1e2d3c4b5a69780f1e2d3c",
    "diff --git a/llamafactory/model/x.py b/llamafactory/model/x.py",
    "glm4/llamafactory:unsloth/zero3/packed",
    "@torch.no_grad() def f(x): return x @ y / 2 // 3",
    "and/or, text/html, n/a, 1/2/3",
]


@pytest.mark.parametrize("text", FACTS)
@pytest.mark.parametrize("name", ["", "torch", "root", "user", "model", "glm4", "transformers", "key", "me", "data"])
def test_facts_stay_whoever_is_at_work(text, name):
    environ = {
        "HOME": f"/home/{name or 'zoe.keller'}",
        "USER": name,
        "HOSTNAME": name,
        "SECRET_BACKEND": "transformers",
    }
    known = facts(environ, {f"/home/{name}/venv": VENV, "/models": PROJECT}, packages={**PACKAGES, "glm4": "1"})
    known = Facts(
        users=(name,) if name else (),
        hosts=(name,) if name else (),
        folders=known.folders,
        secrets=known.secrets,
        vocabulary=known.vocabulary | {"key"},
        versions=known.versions,
    )
    assert Redactor(known).clean(text) == text


@pytest.mark.parametrize("name", ["torch", "root", "user", "me", "model"])
def test_a_common_name_goes_where_it_can_be_nothing_else(name):
    redactor = Redactor(facts({"HOME": f"/srv/people/{name}", "USER": name, "HOSTNAME": "vm"}, {}))
    cleaned = redactor.clean(
        f"/home/{name}/x /srv/people/{name}/y {name}@vm USER={name} 'user': '{name}' HOSTNAME=vm {name} torch"
    )
    assert cleaned == f"<home>/x <home>/y <user>@<host> USER=<user> 'user': '<user>' HOSTNAME=<host> {name} torch"


def test_a_name_is_found_as_a_word_and_a_telling_one_inside_of_words():
    redactor = of(users=("bob", "zkeller"), hosts=("gpu-box7",))
    cleaned = redactor.clean("bob Bob_env bobbin %2Fbob%2F zkeller zkellersproject gpu-box7-eth0")
    assert cleaned == "<user> <user>_env bobbin %2F<user>%2F <user> <user>sproject <host>-eth0"


def test_placeholders_tell_what_lies_where(redactor):
    text = "\n".join(
        [
            f"{HOME_FOLDER}/envs/train/lib/python3.11/site-packages/torch/nn/modules/module.py:12",
            f"{HOME_FOLDER}/secret-project/mine.py {HOME_FOLDER}/other.py {HOME_FOLDER}/my/job/x.py",
            "C:\\Users\\bob\\my\\work\\x.py /home/bob/my/env/lib/site-packages/torch/x.py /home/bob/.pyenv/versions/3.11",
            "/scratch/x/acme/site-packages/llamafactory/model.py /scratch/x/acme/mine.py",
            "/models/x.py transformers/models/glm4.py",
        ]
    )
    assert redactor.clean(text).splitlines() == [
        f"{VENV}/lib/python3.11/site-packages/torch/nn/modules/module.py:12",
        f"{PROJECT}/mine.py {HOME}/other.py {HOME}/.../x.py",
        f"{HOME}\\...\\x.py {HOME}/.../site-packages/torch/x.py {HOME}/.pyenv/versions/3.11",
        "<path>/site-packages/llamafactory/model.py <path>/mine.py",
        f"{PROJECT}/x.py transformers/models/glm4.py",
    ]


def test_indexes_and_proxies_lose_credentials_and_names(redactor):
    cleaned = redactor.clean(
        f"{ENVIRON['PIP_INDEX_URL']} {ENVIRON['https_proxy']} https://u:pw@pypi.org/simple x.intra-acme.example"
    )
    assert cleaned == f"https://{TOKEN}@<host>/<path> http://{TOKEN}@<host> https://{TOKEN}@pypi.org/simple <host>"


def test_plain_data_is_cleaned_to_the_bottom_keys_too(redactor):
    value = {
        f"{HOME_FOLDER}/x": [{"a": (f"{HOME_FOLDER}/y", 1, None, 1.5, True)}],
        "password": "short",
        "eos_token": "</s>",
    }
    assert redactor.clean_json(value) == {
        f"{HOME}/x": [{"a": [f"{HOME}/y", 1, None, 1.5, True]}],
        "password": TOKEN,
        "eos_token": "</s>",
    }


def test_leaks_are_named_by_their_variables(redactor):
    assert redactor.leaks("nothing here") == []
    assert redactor.leaks(f"x {quote(SECRETS['DB_PASSWORD'], safe='')} y") == ["DB_PASSWORD"]
    assert redactor.leaks(SECRETS["HF_TOKEN"]) == ["HF_TOKEN"]
    assert "SECRET_BACKEND" not in redactor.leaks("transformers")  # a word of every report is no secret


def test_folders_that_every_machine_has_stay():
    redactor = Redactor(facts({"HOME": "/root", "USER": "root"}, {"/usr": VENV, "/": PROJECT, "/usr/local": CACHE}))
    assert redactor.clean("/usr/lib/python3 /usr/local/bin /root/x") == "/usr/lib/python3 /usr/local/bin <home>/x"


def test_long_text_is_cleaned_in_good_time(redactor):
    import time

    text = (f"{HOME_FOLDER}/x.py a=b c/d ::1 x.y.z 0123456789abcdef " * 5 + "A" * 500 + "\n") * 600
    started = time.monotonic()
    redactor.clean(text)
    redactor.clean("/" * 20_000 + "a" * 20_000 + "%2F" * 5_000 + "1." * 5_000 + "\\" * 5_000)
    assert time.monotonic() - started < 20
