"""Which argument of a job becomes what, by its name: the names are those of trainers, and of scripts written like theirs."""

from __future__ import annotations

from typing import Any, Callable

LENGTH = 512
"""Tokens of a sequence: most prompts with their answers fit, where short rows are taken."""
GENERATED, PROMPT = 16, 128
"""Tokens that are generated in a step, and that may come before them."""
BATCH, ACCUMULATION = 2, 2
"""Sequences in a batch, and batches of a step."""
ROWS = 256
"""Rows of a data set."""
SEEN = 2000
"""Rows among which they are chosen."""
PIXELS = 4096
"""Of an image, so that its tokens fit into a short sequence."""
FRAMES = 2
"""Of a video."""

Reduce = Callable[[Any], Any]
"""From the value of an argument to the one that is used."""


def at_most(limit: int) -> Reduce:
    """The value itself, or the limit if that is lower; what is no number, or stands for none, stays."""

    def reduced(value: Any) -> Any:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return limit if is_number and value > limit else value

    return reduced


def always(fixed: Any) -> Reduce:
    """One value, whatever the job says."""
    return lambda value: fixed


def _off(value: Any) -> Any:
    return False if value is True else value


def _named(reduce: Reduce, *names: str) -> dict[str, Reduce]:
    return dict.fromkeys(names, reduce)


LENGTHS = (
    *("cutoff_len", "max_length", "max_seq_length", "max_seq_len", "seq_length", "seq_len", "sequence_len"),
    *("model_max_length", "block_size", "max_source_length", "max_target_length", "generation_max_length"),
)

OF_DATA: dict[str, Reduce] = {
    **_named(at_most(LENGTH), *LENGTHS),
    **_named(at_most(PROMPT), "max_prompt_length"),
    **_named(at_most(GENERATED), "max_completion_length", "max_new_tokens", "response_length"),
    **_named(at_most(ROWS), "max_samples", "max_train_samples"),
    **_named(at_most(BATCH), "max_eval_samples", "max_predict_samples", "num_generations"),
    **_named(always(None), "preprocessing_num_workers", "dataset_num_proc", "num_proc", "preprocess_num_workers"),
    **_named(at_most(PIXELS), "image_max_pixels", "video_max_pixels", "max_pixels"),
    **_named(at_most(FRAMES), "video_maxlen"),
}
"""Sequences, rows and workers."""

ON_CPU: dict[str, Reduce] = {
    **_named(_off, "use_liger_kernel", "enable_liger_kernel", "use_liger_loss", "use_unsloth", "use_unsloth_gc"),
    **_named(_off, "use_vllm", "pure_bf16", "fp8", "use_v1_kernels"),
}
"""What needs a GPU."""

OF_TRAINING: dict[str, Reduce] = {
    **_named(at_most(BATCH), "per_device_train_batch_size", "per_device_eval_batch_size"),
    **_named(at_most(BATCH), "per_gpu_train_batch_size", "per_gpu_eval_batch_size"),
    **_named(at_most(ACCUMULATION), "gradient_accumulation_steps", "steps_per_generation", "num_iterations"),
    **_named(always(None), "generation_batch_size"),
    **_named(_off, "auto_find_batch_size", "torch_compile"),
    **_named(always(None), "torch_compile_backend", "torch_compile_mode"),
    **_named(always(0), "dataloader_num_workers"),
    **_named(always(None), "dataloader_prefetch_factor", "resume_from_checkpoint"),
    **_named(_off, "dataloader_persistent_workers"),
}
"""What ``TrainingArguments`` has beside them."""

SWITCHED_OFF: dict[str, Any] = {
    "save_strategy": "no",
    "push_to_hub": False,
    "report_to": "none",
    "do_eval": False,
    "do_predict": False,
    "predict_with_generate": False,
    "eval_on_start": False,
    "load_best_model_at_end": False,
    "bf16_full_eval": False,
    "fp16_full_eval": False,
    "log_completions": False,
    "profile": False,
}
"""Checkpoints, loggers, uploads and evaluation: told in one sentence."""

NEVER = 1_000_000_000
"""Steps between evaluations: some callbacks require that there are some."""
