"""Tiny sequence classifiers of one label as transformers makes them, and their scores.

usage: make_reward_models.py FOLDER

FOLDER/NAME/ is a Hugging Face folder with a byte-level tokenizer; FOLDER/scores.json holds {"texts": [...], NAME: [...]}.
"""
import json
import os
import sys

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEXTS = ["What is 2 + 3?\n<answer>5</answer>", "a", "Nothing here says anything that is true.", "z" * 60]
SMALL = dict(vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, num_labels=1, pad_token_id=0)
MOE = dict(num_key_value_heads=4, first_k_dense_replace=1, q_lora_rank=12, kv_lora_rank=16, qk_nope_head_dim=8,
           qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3,
           moe_intermediate_size=16, n_group=4, topk_group=2, routed_scaling_factor=2.5)
MODELS = {"Llama": SMALL, "Qwen2": SMALL, "DeepseekV3": SMALL | MOE}


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<pad>": 0, "<eos>": 1} | {char: 2 + i for i, char in enumerate(alphabet)}
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(["<pad>", "<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>")


def main(folder):
    torch.manual_seed(0)
    tok, scores = tokenizer(), {"texts": TEXTS}
    for name, config in MODELS.items():
        made = getattr(transformers, name + "ForSequenceClassification")(getattr(transformers, name + "Config")(**config))
        for parameter in made.parameters():  # larger than the initialisation, so that scores differ
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        made.eval()
        path = os.path.join(folder, name)
        made.save_pretrained(path)
        tok.save_pretrained(path)
        with torch.no_grad():
            ids = [torch.tensor([tok(text)["input_ids"]]) for text in TEXTS]
            scores[name] = [made(one).logits[0, 0].item() for one in ids]
    with open(os.path.join(folder, "scores.json"), "w") as file:
        json.dump(scores, file)


main(sys.argv[1])
