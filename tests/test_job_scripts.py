"""Jobs as shell scripts start them. No script is ever run."""

import json

import pytest

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import reading, shell
from ckptdoctor.job.shell_words import shown
from ckptdoctor.job.summary import summary

FLAGS = "--model_name_or_path glm4 --stage sft --do_train --finetuning_type lora --bf16"
JOB = "model_name_or_path: glm4\nstage: sft\ndo_train: true\nfinetuning_type: full\nbf16: true\n"
RECIPE = "model_name_or_path: x/y\nuse_peft: true\nlora_target_modules: [q_proj]\nbf16: true\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a script in a folder with some files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def read_script(text, *more, name="run.sh", **versions):
        for file, content in FILES.items():
            (tmp_path / file).write_text(content)
        (tmp_path / name).write_text(text)
        return reading.read([name, *more], versions)

    return read_script


FILES = {
    "train.yaml": JOB,
    "recipe.yaml": RECIPE,
    "axolotl.yml": "base_model: x\nmicro_batch_size: 1\ngradient_checkpointing: true\nbf16: true\n",
    "swift.yaml": "model: x\ntuner_type: full\nENV:\n  NPROC_PER_NODE: '2'\n",
    "ds.json": '{"zero_optimization": {"stage": 2}}',
    "fsdp.yaml": "distributed_type: FSDP\nfsdp_config: {fsdp_version: 2}\nmixed_precision: bf16\n",
}


def refused(read, text, *more):
    with pytest.raises(UsageFault) as caught:
        read(text, *more)
    assert caught.value.hint
    assert "\ue000" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("line", "trainer", "engine"),
    [
        ("llamafactory-cli train train.yaml", "llamafactory", "none"),
        (f"lmf train {FLAGS}", "llamafactory", "none"),
        ("FORCE_TORCHRUN=1 llamafactory-cli train train.yaml", "llamafactory", "ddp"),
        ("export FORCE_TORCHRUN=1\nllamafactory-cli train train.yaml", "llamafactory", "ddp"),
        ("FORCE_TORCHRUN=0 llamafactory-cli train train.yaml", "llamafactory", "none"),
        (f"torchrun --nproc_per_node 8 --standalone src/train.py {FLAGS}", "llamafactory", "ddp"),
        (f"torchrun --nproc-per-node=8 src/train.py {FLAGS} --deepspeed ds.json", "llamafactory", "zero2"),
        (f"deepspeed --num_gpus 4 --no_local_rank src/train.py --deepspeed ds.json {FLAGS}", "llamafactory", "zero2"),
        ("accelerate launch --config_file fsdp.yaml src/train.py train.yaml", "llamafactory", "fsdp2"),
        (
            "python -m accelerate.commands.launch --config_file fsdp.yaml src/train.py train.yaml",
            "llamafactory",
            "fsdp2",
        ),
        ("srun --ntasks=2 nohup python3 -u -m torch.distributed.run src/train.py train.yaml &", "llamafactory", "ddp"),
        ("axolotl train axolotl.yml", "axolotl", "none"),
        ("accelerate launch --num_processes 1 -m axolotl.cli.train axolotl.yml", "axolotl", "none"),
        ("accelerate launch --multi_gpu --num_processes 2 -m axolotl.cli.train axolotl.yml", "axolotl", "ddp"),
        ("accelerate launch --use_deepspeed --zero_stage 3 -m axolotl.cli.train axolotl.yml", "axolotl", "zero3"),
        ("trl sft --config recipe.yaml --accelerate_config zero3", "trl", "zero3"),
        ("trl dpo --config recipe.yaml", "trl", "none"),
        ("accelerate launch --config_file fsdp.yaml scripts/sft.py --config recipe.yaml", "trl", "fsdp2"),
        ("swift sft --model x --tuner_type full --deepspeed zero3", "swift", "zero3"),
        ("NPROC_PER_NODE=2 swift rlhf --rlhf_type dpo --model x", "swift", "ddp"),
        ("swift sft swift.yaml", "swift", "ddp"),
        ("swift pt --model x --fsdp fsdp2", "swift", "fsdp2"),
        ("megatron sft --model x", "swift-megatron", "none"),
        ("python3 -m verl.trainer.main_ppo actor_rollout_ref.model.path=x", "verl", "fsdp1"),
        ("python3 -m verl.trainer.main_ppo actor_rollout_ref.actor.strategy=fsdp2", "verl", "fsdp2"),
        ("deepspeed --module openrlhf.cli.train_sft --pretrain x --zero_stage 3", "openrlhf", "zero3"),
        ("ray job submit --address=a -- python3 -m openrlhf.cli.train_ppo_ray --ds.zero_stage 3", "openrlhf", "zero3"),
    ],
)
def test_a_command_line_is_a_job(read, line, trainer, engine):
    found = read(f"#!/bin/bash\nset -ex\ncd work\n{line}\necho done\n")
    assert (found.trainer, found.engine) == (trainer, engine)


def test_nothing_is_said_of_settings_that_are_not_read(read):
    assert summary(read("megatron sft --model x --tuner_type lora\n")) == "run.sh: ms-swift's Megatron trainer"


def test_llamafactory_takes_settings_after_the_file(read):
    found = read(
        "llamafactory-cli train train.yaml finetuning_type=lora lora_target=q_proj,v_proj use_reentrant_gc=false"
    )
    assert (found.setup.tuning, found.setup.lora_targets) == ("lora", ("q_proj", "v_proj"))
    assert found.setup.reentrant is False


def test_options_go_before_the_file_that_they_name(read):
    found = read("trl sft --config recipe.yaml --lora_target_modules k_proj v_proj --bf16 false --fp16 true")
    assert (found.setup.lora_targets, found.setup.precision) == (("k_proj", "v_proj"), "fp16")


def test_settings_and_accelerates_configuration_beside_a_script(read):
    assert read("llamafactory-cli train train.yaml", "fsdp.yaml").engine == "fsdp2"
    assert read("llamafactory-cli train train.yaml", "deepspeed=ds.json").engine == "zero2"


def test_variables_arrays_and_here_documents_are_put_in(read):
    found = read(
        'TUNING=lora MODEL="org/${NAME:-glm4}"\n'
        "ARGS=(\n  --stage sft  # the stage\n  --do_train\n)\n"
        "ARGS+=(--finetuning_type $TUNING)\n"
        "cat > made.json <<EOF\n" + json.dumps({"zero_optimization": {"stage": 1}}) + "\nEOF\n"
        "read -r -d '' MORE <<EOF\n--bf16 \\\n--lora_target q_proj\nEOF\n"
        'torchrun src/train.py --model_name_or_path "$MODEL" "${ARGS[@]}" $MORE "$@"\n'
    )
    assert found.model_name == "org/glm4"
    assert (found.setup.tuning, found.setup.lora_targets, found.setup.precision) == ("lora", ("q_proj",), "bf16")
    assert (found.unjudged, found.engine) == ([], "ddp")


def test_a_file_that_the_script_writes_is_read_from_it(read):
    found = read("cat <<'EOF' > made.yaml\n" + JOB + "EOF\nllamafactory-cli train made.yaml\n")
    assert (found.trainer, found.setup.tuning) == ("llamafactory", "full")


def test_a_command_in_a_text_for_bash_is_read(read):
    found = read(f'LAUNCHER="torchrun --nnodes $SLURM_NNODES"\nsrun bash -c "$LAUNCHER src/train.py {FLAGS}"\n')
    assert found.engine == "ddp"


@pytest.mark.parametrize(
    "script",
    [
        "llamafactory-cli train train.yaml deepspeed=$DS\n",
        'if [ -n "$1" ]; then DS=ds.json; else DS=; fi\nllamafactory-cli train train.yaml deepspeed=$DS\n',
        "for DS in a b; do llamafactory-cli train train.yaml deepspeed=$DS; done\n",
        "setup() { DS=ds.json; }\nsetup\nllamafactory-cli train train.yaml deepspeed=$DS\n",
        f"python src/train.py {FLAGS} --deepspeed $DS\n",
        "DS=ds.json\nread DS\nllamafactory-cli train train.yaml deepspeed=$DS\n",
        "DS=ds.json\nunset DS\nllamafactory-cli train train.yaml deepspeed=$DS\n",
        "DS=ds.json\neval DS=\nllamafactory-cli train train.yaml deepspeed=$DS\n",
        "DS=ds.json\nprintf -v DS x\nllamafactory-cli train train.yaml deepspeed=$DS\n",
        "DS=ds.json\ntest -f a && DS=\nllamafactory-cli train train.yaml deepspeed=$DS\n",
        "test -f a && DS=ds.json || DS=\nllamafactory-cli train train.yaml deepspeed=$DS\n",
    ],
)
def test_what_the_script_leaves_open_is_named_and_not_judged(read, script):
    found = read(script)
    assert found.unjudged == ["`deepspeed`: the script does not say what `$DS` is."]
    assert read(script, "deepspeed=ds.json").engine == "zero2"


@pytest.mark.parametrize("name", ["output_dir", "learning_rate", "dataset"])
def test_what_is_left_open_and_has_no_bearing_is_not_named(read, name):
    assert read(f"llamafactory-cli train train.yaml {name}=$X").unjudged == []


def test_a_model_that_is_left_open_is_a_model_that_is_not_known(read):
    found = read("swift sft --tuner_type full --model $MODEL")
    assert found.unjudged == []
    assert found.model_name == found.model == ""
    assert "`model`: the script does not say what `$MODEL` is: give --model." in found.untried
    assert read("swift sft --tuner_type full --model $HOME/models/glm4-x").model_name == "glm4-x"
    verl = read("python -m verl.trainer.main_ppo actor_rollout_ref.model.path=$HOME/glm4-x")
    assert (verl.model_name, verl.unjudged) == ("glm4-x", [])


def test_arguments_in_a_variable_that_is_left_open_are_named(read):
    found = read("swift sft --model x --tuner_type full $EXTRA")
    assert "`$EXTRA`: run.sh does not set it" in " ".join(found.untried)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("llamafactory-cli train $1\n", "does not say which file it starts: `$1` is not set"),
        ("trl sft --config recipes/$TASK.yaml\n", "`$TASK` is not set"),
        (
            "llamafactory-cli train train.yaml\nllamafactory-cli train train.yaml bf16=false\n",
            "several jobs (line 1 and line 2)",
        ),
        ("echo hello\n", "starts no training job"),
        ("echo llamafactory-cli train train.yaml\n", "starts no training job"),
        ("pip install deepspeed trl\n", "starts no training job"),
        ("llamafactory-cli train train\n", "neither YAML nor JSON"),
        ("sed -i s/a/b/ train.yaml\nllamafactory-cli train train.yaml\n", "changes train.yaml before it uses it"),
        ("echo a: b >> train.yaml\nllamafactory-cli train train.yaml\n", "changes train.yaml before it uses it"),
        (
            "if a; then C='swift sft'; else C='swift pt'; fi\n$C --model x\n",
            "does not say what it runs: `$C` is not set",
        ),
        ("", "starts no training job"),
        ("llamafactory-cli export train.yaml\nswift infer --model x\nverl\n", "starts no training job"),
        ("tune run full_finetune --config llama3\n", "a torchtune recipe: not supported (line 1)"),
        ("python open_instruct/finetune.py --x 1\n", "an open-instruct job: not supported"),
        ("torchrun -m torchtitan.train --job.x\n", "a torchtitan job: not supported"),
        ("python mine.py --foo 1\n", "no key that belongs to one"),
        ("llamafactory-cli train away.yaml\n", "There is no file away.yaml"),
        ("accelerate launch --config_file away.yaml src/train.py train.yaml\n", "There is no file away.yaml"),
        ('llamafactory-cli train train.yaml bf16="$(cat x\n', "cannot be parsed"),
    ],
)
def test_a_script_without_a_job_that_can_be_read_is_refused(read, script, says):
    assert says in refused(read, script)


def test_the_same_command_twice_is_one_job(read):
    line = "llamafactory-cli train train.yaml\n"
    assert read(f"if a; then\n{line}else\n{line}fi\n").trainer == "llamafactory"


def test_accelerates_configuration_that_is_left_open_is_not_judged(read):
    [reason] = read("accelerate launch --config_file $A src/train.py train.yaml").unjudged
    assert "`$A`" in reason


def test_accelerate_without_a_configuration_says_so(read):
    found = read("accelerate launch src/train.py train.yaml")
    assert found.engine == "ddp"
    assert "names no configuration" in " ".join(found.untried)


def test_no_part_of_a_script_is_run(read, tmp_path):
    mark = tmp_path / "ran"
    lines = [f"touch {mark}", f"X=$(touch {mark})", f"Y=`touch {mark}`", f"eval 'touch {mark}'"]
    read("\n".join([*lines, f"llamafactory-cli train train.yaml run_name=$(touch {mark})"]))
    assert not mark.exists()


def test_a_script_without_an_ending_is_told_by_its_first_line(read):
    assert read("#!/usr/bin/env bash\nllamafactory-cli train train.yaml\n", name="run").trainer == "llamafactory"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a 'b  c' \"d  e\"", ["a", "b  c", "d  e"]),
        ("X='b c'\na $X \"$X\" -$X-", ["a", "b", "c", "b c", "-b", "c-"]),
        ("X=(b 'c d')\na ${X[@]} \"${X[@]}\"", ["a", "b", "c", "d", "b", "c d"]),
        ('a $@ "$@" $* end', ["a", "end"]),
        ("a ${X:-b} ${X-c} ${Y:+d}", ["a", "b", "c", "${Y}"]),
        ("a \\\n  b # c", ["a", "b"]),
        ("a \\\n  b \\\n  # c \\\n  d", ["a", "b"]),
        ("a --x='{\"b\": 1}' $(c) $((1+1)) $D", ["a", '--x={"b": 1}', "$(...)", "$((...))", "$D"]),
        ('X="b\nc"\na "$X"', ["a", "b\nc"]),
        ("a b\\ c", ["a", "b c"]),
        ("E= a '' $E b", ["a", "", "$E", "b"]),
        ("E=\na '' $E b", ["a", "", "b"]),
    ],
)
def test_words_are_those_of_bash(text, words):
    found = [[shown(word) for word in one.words] for one in shell.read(text).commands]
    assert words in found


@pytest.mark.parametrize(
    "text", ["$(" * 500, "a " * 50_000, "'" * 999, "bash -c " * 50 + "x", "\0\ue000\ue100", "((((", "<<EOF"]
)
def test_a_hostile_script_is_read_without_harm(text):
    shell.read(text)


def test_a_line_that_goes_on_at_the_end_of_a_script_is_no_harm(read):
    assert read("swift sft --model x --tuner_type full \\\n").trainer == "swift"


@pytest.mark.parametrize(
    ("line", "engine", "is_judged"),
    [
        ("-m verl.trainer.main_ppo algorithm.adv_estimator=gae", "fsdp1", True),
        ("-m verl.trainer.fsdp_sft_trainer model.partial_pretrain=x", "fsdp2", True),
        ("-m verl.trainer.sft_trainer model.path=x engine.strategy=fsdp2", "fsdp2", True),
        (
            "-m verl.trainer.main_ppo --config-path=config --config-name='ppo_megatron_trainer.yaml' data.x=1",
            "none",
            False,
        ),
        ("-m recipe.dapo.main_dapo actor_rollout_ref.model.path=x", "fsdp1", True),
        ("-m verl.trainer.main_ppo --config-name $NAME", "fsdp1", False),
    ],
)
def test_which_configuration_of_verls_is_meant(read, line, engine, is_judged):
    found = read(f"python3 {line}")
    assert (found.trainer, found.engine, not found.unjudged) == ("verl", engine, is_judged)


def test_a_run_of_verls_that_does_not_train_is_no_job(read):
    assert "no key" in refused(read, "python3 -m verl.trainer.main_generation data.path=x model.path=y\n")


def test_another_script_that_may_set_variables_is_named(read):
    found = read("source ./env.sh\nllamafactory-cli train train.yaml\n")
    assert "runs another script (line 1)" in " ".join(found.untried)


def test_options_of_accelerate_that_are_left_open_are_not_judged(read):
    [reason] = read("accelerate launch --config_file fsdp.yaml $OPTIONS src/train.py train.yaml\n").unjudged
    assert "`$OPTIONS`" in reason


def test_what_is_set_in_a_row_is_known(read):
    assert read("export A=1 && DS=ds.json && llamafactory-cli train train.yaml deepspeed=$DS\n").engine == "zero2"
