"""A plain script around transformers' Trainer; ``zero3`` uses DeepSpeed, ``fsdp2`` shards the model with fully_shard.

accelerate applies FSDP on GPUs alone, so that the sharding is done here where accelerate would do it.
"""

import sys
import tempfile

import faults
import tiny
from torch.distributed.fsdp import fully_shard
from transformers import Trainer, TrainingArguments, default_data_collator

SETTINGS = {
    "max_steps": 20,
    "per_device_train_batch_size": 2,
    "gradient_checkpointing": True,
    "report_to": [],
    "save_strategy": "no",
    "use_cpu": True,
    "disable_tqdm": True,
}

ZERO3 = {
    "use_cpu": False,
    "deepspeed": {
        "zero_optimization": {"stage": 3},
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    },
}


def prepare_deepspeed():
    """DeepSpeed as it is on GPUs: without its own op for CPUs, and with gathered weights that are there when they are used.

    The op takes minutes to build. Up to 0.19 DeepSpeed waits for the last of several gathers alone, which only CUDA's streams
    make enough (its pull request 8539): on CPUs weights are now and then what the memory held before.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    gather = deepspeed.comm.all_gather_into_tensor

    def gather_and_wait(*arguments, **options):
        handle = gather(*arguments, **options)
        if handle is not None:
            handle.wait()
        return handle

    deepspeed.comm.all_gather_into_tensor = gather_and_wait


def main():
    if "zero3" in sys.argv:
        prepare_deepspeed()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, **{**SETTINGS, **(ZERO3 if "zero3" in sys.argv else {})})
        model = tiny.model()
        if "fsdp2" in sys.argv:
            assert arguments.device.type == "cpu"  # it makes the process group
            for part in (*faults.layers_of(model), model):
                fully_shard(part)
        trainer = Trainer(model, arguments, train_dataset=tiny.rows(), data_collator=default_data_collator)
        if "fsdp2" in sys.argv:
            trainer.accelerator.prepare_model = lambda model, **ignored: model
        trainer.train()
    tiny.told(trainer.model)


if __name__ == "__main__":
    main()
