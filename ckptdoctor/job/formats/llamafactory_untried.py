"""What a job of LLaMA-Factory's can ask for and cannot be tried, by setting."""

UNTRIED = {
    "quantization_bit": "quantized weights; plain ones are tried.",
    "pure_bf16": "weights in bfloat16 throughout; autocast to bfloat16 is tried.",
    "freeze_language_model": "a frozen language model; it is trained.",
    "shift_attn": "LongLoRA's shifted attention.",
    "mixture_of_depths": "mixture of depths, which leaves tokens out of layers.",
    "enable_liger_kernel": "Liger's kernels in the layers.",
    "use_v1_kernels": "kernels of LLaMA-Factory's own in the layers.",
    "moe_aux_loss_coef": "the loss of the experts' router.",
    "upcast_layernorm": "norms in float32 within a model of lower precision.",
    "upcast_lmhead_output": "logits in float32 within a model of lower precision.",
    "neat_packing": "packed sequences with attention of their own.",
    "use_galore": "GaLore, which projects gradients.",
    "use_apollo": "APOLLO, which projects gradients.",
    "use_badam": "BAdam, which trains a block of layers at a time; all are trained at once.",
    "use_llama_pro": "LLaMA Pro, which trains added layers alone; they are not told apart.",
    "fp8": "matrices in 8 bits.",
    "use_hyper_parallel": "HyperParallel's sharding.",
}

LORA_UNTRIED = {
    "use_dora": "DoRA; plain LoRA is tried.",
    "use_rslora": "rank-stabilized LoRA; plain LoRA is tried.",
    "pissa_init": "PiSSA; plain LoRA is tried.",
    "lora_dropout": "dropout in the adapter; the adapter is tried without dropout.",
    "additional_target": "modules that are also trained whole; they stay frozen.",
}

FREEZE_UNTRIED = {"freeze_extra_modules": "modules outside of the layers that are trained too; they stay frozen."}

BEYOND_ONE = {
    "ray_num_workers": "several processes: --nproc tries that.",
    "sequence_parallel_size": "sequence parallelism.",
    "hyper_parallel_cp_size": "context parallelism.",
}
