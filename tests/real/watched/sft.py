"""TRL's SFTTrainer on token ids, so that it needs no tokenizer's files."""

import sys
import tempfile

import tiny
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer


def tokenizer():
    words = {"[PAD]": 0, "[EOS]": 1, "[UNK]": 2, **{f"w{index}": index for index in range(3, 64)}}
    plain = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]")


def main():
    texts = [" ".join(f"w{max(3, one)}" for one in row["input_ids"]) for row in tiny.rows()]
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            folder,
            max_steps=20,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": "reentrant" in sys.argv},
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        dataset = Dataset.from_dict({"text": texts})
        trainer = SFTTrainer(tiny.model(), arguments, train_dataset=dataset, processing_class=tokenizer())
        trainer.train()
    tiny.told(trainer.model)


if __name__ == "__main__":
    main()
