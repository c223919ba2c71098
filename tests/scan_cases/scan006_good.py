"""Both names are set, Trainer only repeats what was done, or a module's own flag is meant."""


def prepare(model, training_args):
    training_args.gradient_checkpointing = False
    training_args.activation_checkpointing = False


def prepare_quantized(model, args):
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=args.gradient_checkpointing)
    args.gradient_checkpointing = False
    return model


def prepare_model_for_kbit_training(model, use_gradient_checkpointing):
    for module in model.modules():
        module.gradient_checkpointing = False
    return model
