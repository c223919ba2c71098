"""Makes a job small: ``ckptdoctor rehearse``. Waits for the packages of a job; the package ``shrinker`` acts on each.

Python 3.9 and later, standard library only; what acts on a package is loaded once the job has imported that package.
"""

from __future__ import annotations

from types import ModuleType

import _ckptdoctor_hook as hook

ACTS = {
    "transformers.modeling_utils": "models.act_on_transformers",
    "transformers.training_args": "arguments.act_on_training_arguments",
    "transformers.hf_argparser": "arguments.act_on_parser",
    "transformers.trainer": "trainer.act_on_trainer",
    "transformers.tokenization_utils_base": "saving.act_on_tokenizers",
    "transformers.processing_utils": "saving.act_on_processors",
    "transformers.models.auto.configuration_auto": "missing.act_on_configurations",
    "transformers.models.auto.tokenization_auto": "missing.act_on_tokenizers",
    "huggingface_hub._snapshot_download": "fetching.act_on_hub",
    "modelscope.hub.snapshot_download": "fetching.act_on_hub",
    "peft.peft_model": "models.act_on_peft",
    "datasets.load": "data.act_on_loading",
    "datasets.arrow_dataset": "data.act_on_datasets",
    "torch.utils.data.dataloader": "data.act_on_data_loader",
    "torch.distributed.launcher.api": "processes.act_on_launcher",
    "torch.distributed.distributed_c10d": "processes.act_on_groups",
    "torch.distributed.fsdp.fully_sharded_data_parallel": "processes.act_on_fsdp1",
    "torch.serialization": "saving.act_on_torch",
    "accelerate.state": "accelerating.act_on_state",
    "accelerate.accelerator": "accelerating.act_on_accelerator",
    "accelerate.utils.dataclasses": "accelerating.act_on_plugins",
    "accelerate.utils.deepspeed": "deepspeed.act_on_accelerate",
    "transformers.integrations.deepspeed": "deepspeed.act_on_transformers",
    "deepspeed.comm": "deepspeed.act_on_communication",
    "deepspeed.ops": "deepspeed.act_on_operations",
    "axolotl.utils.config": "axolotl.act_on_configuration",
    "axolotl.cli.config": "axolotl.act_on_command",
    "transformers.configuration_utils": "saving.act_on_configurations",
    "deepspeed.runtime.config": "deepspeed.act_on_deepspeed",
}
"""By module: the function of the package ``shrinker`` that is called with it, once it was executed."""


def install() -> None:
    """Wait for all of them."""
    for name in ACTS:
        hook.when_executed(name, _act)


def _act(module: ModuleType) -> None:
    file, _, function = ACTS[module.__name__].partition(".")
    getattr(hook.probes(f"shrinker.{file}"), function)(module)
