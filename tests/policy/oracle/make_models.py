"""Random-weight models of many configurations as transformers makes them, with what it computes with them.

usage: make_models.py FOLDER

FOLDER/NAME/ is a Hugging Face folder (float32). Beside the weights:
  reference.safetensors  tokens [n] int64 and lengths [k] int64 of sequences laid end to end; logprobs [n - k] float32,
                         log p of every token but each sequence's first; bfloat16_logprobs, the same by transformers in
                         bfloat16; frequencies of the rotary embedding; for multi-token prediction mtp_logprobs,
                         module by module and sequence by sequence: log p of token i + d + 2 by module d
  grads/                 d(sum of -logprobs) / d(weight) of every weight, named as the weights
  mtp_grads/             the same of mtp_logprobs
  published.json         config.json with rope_theta and rope_scaling, as checkpoints before transformers 5 have it
Does nothing where FOLDER was made by this very file.
"""
import fcntl
import hashlib
import json
import os
import shutil
import sys

LENGTHS = [30, 11, 2]
V3 = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
          num_key_value_heads=4, first_k_dense_replace=1, max_position_embeddings=64, q_lora_rank=12, kv_lora_rank=16,
          qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=8, n_shared_experts=1,
          num_experts_per_tok=3, moe_intermediate_size=16, n_group=4, topk_group=2, routed_scaling_factor=2.5,
          num_nextn_predict_layers=0, eos_token_id=1, bos_token_id=0)
V2 = {key: value for key, value in V3.items() if key != "num_nextn_predict_layers"} | dict(
    routed_scaling_factor=1.5, topk_method="greedy", n_group=None, topk_group=None)
DENSE = dict(vocab_size=61, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, max_position_embeddings=64, eos_token_id=1, bos_token_id=0)
QWEN3 = DENSE | dict(head_dim=16)


def rope(kind, **values):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=values.pop("theta", 10000.0), **values))


YARN = dict(factor=4.0, original_max_position_embeddings=16, beta_fast=32, beta_slow=1)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
CONFIGS = {
    "v3": ("DeepseekV3", V3),
    "v3-no-q-lora": ("DeepseekV3", V3 | dict(q_lora_rank=None)),
    "v3-halves": ("DeepseekV3", V3 | dict(rope_interleave=False)),
    "v3-bias": ("DeepseekV3", V3 | dict(attention_bias=True)),
    "v3-not-normed": ("DeepseekV3", V3 | dict(norm_topk_prob=False, n_group=1, topk_group=1)),
    "v3-dense": ("DeepseekV3", V3 | dict(first_k_dense_replace=3, tie_word_embeddings=True)),
    "v3-all-moe": ("DeepseekV3", V3 | dict(first_k_dense_replace=0, n_shared_experts=2, n_group=2, topk_group=1)),
    "v3-eps": ("DeepseekV3", V3 | dict(rms_norm_eps=1e-2)),
    "v3-yarn": ("DeepseekV3", V3 | rope("yarn", mscale=1.0, mscale_all_dim=1.0, **YARN)),
    "v3-yarn-mscales": ("DeepseekV3", V3 | rope("yarn", mscale=0.7, mscale_all_dim=1.3, theta=500.0, **YARN)),
    "v3-yarn-whole": ("DeepseekV3", V3 | rope("yarn", truncate=False, mscale_all_dim=0.5, **YARN)),
    "v3-linear": ("DeepseekV3", V3 | rope("linear", factor=3.0)),
    "v3-mtp": ("DeepseekV3", V3 | dict(num_nextn_predict_layers=1)),
    "v3-mtp-yarn": ("DeepseekV3", V3 | dict(num_nextn_predict_layers=2, tie_word_embeddings=True)
                    | rope("yarn", mscale=1.0, mscale_all_dim=1.0, **YARN)),
    "v3-odd": ("DeepseekV3", V3 | dict(hidden_size=40, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=7,
                                       kv_lora_rank=9, qk_nope_head_dim=6, qk_rope_head_dim=10, v_head_dim=5,
                                       num_experts_per_tok=1, n_group=2, topk_group=2, rms_norm_eps=1e-5)
               | rope("yarn", mscale=0.8, theta=100.0, **YARN)),
    "v2": ("DeepseekV2", V2),
    "v2-groups": ("DeepseekV2", V2 | dict(topk_method="group_limited_greedy", n_group=4, topk_group=2)),
    "v2-lite": ("DeepseekV2", V2 | dict(q_lora_rank=None, n_shared_experts=2)
                | rope("yarn", mscale=0.707, mscale_all_dim=0.707, **YARN)),
    "v2-bias": ("DeepseekV2", V2 | dict(attention_bias=True, mlp_bias=True, first_k_dense_replace=2)),
    "v2-all-moe": ("DeepseekV2", V2 | dict(first_k_dense_replace=0, tie_word_embeddings=True)
                   | rope("yarn", mscale=1.2, mscale_all_dim=0.6, **YARN)),
    "qwen2": ("Qwen2", DENSE),
    "qwen2-tied": ("Qwen2", DENSE | dict(tie_word_embeddings=True, num_key_value_heads=1, rms_norm_eps=1e-5)),
    "qwen2-yarn": ("Qwen2", DENSE | rope("yarn", theta=1000000.0, **YARN)),
    "qwen2-window": ("Qwen2", DENSE | dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    "qwen2-mha": ("Qwen2", DENSE | dict(num_key_value_heads=6)),
    "qwen3": ("Qwen3", QWEN3),
    "qwen3-tied": ("Qwen3", QWEN3 | dict(tie_word_embeddings=True, head_dim=8) | rope("default", theta=1000000.0)),
    "qwen3-bias": ("Qwen3", QWEN3 | dict(attention_bias=True)),
    "qwen3-window": ("Qwen3", QWEN3 | dict(use_sliding_window=True, sliding_window=7,
                                           layer_types=["full_attention", "sliding_attention", "full_attention"])),
    "qwen3-window-1": ("Qwen3", QWEN3 | dict(use_sliding_window=True, sliding_window=1, max_window_layers=0, head_dim=6)
                       | rope("linear", factor=3.7)),
    "qwen3-yarn": ("Qwen3", QWEN3 | rope("yarn", attention_factor=1.4, **YARN)),
    "llama": ("Llama", DENSE),
    "llama-smollm2": ("Llama", DENSE | dict(tie_word_embeddings=True, num_attention_heads=3, num_key_value_heads=1)
                      | rope("default", theta=100000.0)),
    "llama-deepseek-llm": ("Llama", DENSE | dict(num_key_value_heads=6)),
    "llama-3.1": ("Llama", DENSE | rope("llama3", theta=500000.0, **LLAMA3)),
    "llama-3.2": ("Llama", DENSE | dict(head_dim=16, tie_word_embeddings=True)
                  | rope("llama3", theta=500.0, **LLAMA3 | dict(factor=32.0))),
    "llama-odd": ("Llama", DENSE | dict(hidden_size=24, intermediate_size=33, num_attention_heads=3,
                                        num_key_value_heads=1, head_dim=14, rms_norm_eps=1e-2, attention_bias=True)
                  | rope("llama3", theta=100.0, **LLAMA3)),
    "llama-linear": ("Llama", DENSE | rope("linear", factor=2.0)),
    "llama-bias": ("Llama", DENSE | dict(attention_bias=True, mlp_bias=True)),
    "mistral": ("Mistral", DENSE | dict(sliding_window=None)),
    "mistral-window": ("Mistral", DENSE | dict(sliding_window=6, head_dim=12)),
}


def randomise(torch, module):
    """Weights large enough that every part of the network shows in the log-probabilities."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("e_score_correction_bias"):
            tensor.data.normal_(0, 0.1)
        elif tensor.dim() >= 2:
            tensor.data.normal_(0, tensor.shape[-1] ** -0.5)
        elif name.endswith("norm.weight"):
            tensor.data.normal_(1, 0.2)
        elif name.endswith("bias"):
            tensor.data.normal_(0, 0.2)


def logprobs(torch, logits, ids, shift):
    table = torch.log_softmax(logits[0, :len(ids) - shift].float(), -1)
    return table.gather(1, ids[shift:, None])[:, 0]


def mtp_tensors(module, layer):
    """The module's tensors under the names of the published checkpoint."""
    out = {}
    for name, tensor in module.named_parameters():
        name = name.removeprefix("mtp_block.").replace("post_norm.", "shared_head.norm.", 1) \
            if not name.startswith("mtp_block.") else name.removeprefix("mtp_block.")
        if name.endswith("experts.gate_up_proj"):
            for e, both in enumerate(tensor):
                gate, up = both.chunk(2)
                out[f"mlp.experts.{e}.gate_proj.weight"], out[f"mlp.experts.{e}.up_proj.weight"] = gate, up
        elif name.endswith("experts.down_proj"):
            out |= {f"mlp.experts.{e}.down_proj.weight": down for e, down in enumerate(tensor)}
        else:
            out[name] = tensor
    out["mlp.gate.e_score_correction_bias"] = module.mtp_block.mlp.gate.e_score_correction_bias
    return {f"model.layers.{layer}.{name}": tensor.detach().contiguous() for name, tensor in out.items()}


def make_mtp(torch, model, sequences):
    """Modules for multi-token prediction, and the log-probabilities of each, one after another."""
    from transformers.modeling_layers import MtpModel
    modules = MtpModel(model, model.config.num_mtp_layers).eval()
    modules.set_attn_implementation("eager")
    for layer in modules.layers:
        randomise(torch, layer)
    out = []
    for depth in range(len(modules.layers)):
        for ids in sequences:
            if len(ids) <= depth + 2:
                continue
            state = model.model(ids[None]).last_hidden_state
            for d in range(depth + 1):
                shifted = ids[None, d + 1:]
                position_ids = torch.arange(d + 1, len(ids))[None]
                state = modules.forward_layer(d, state[:, :shifted.shape[1]], position_ids, None, input_ids=shifted)
            out.append(logprobs(torch, model.lm_head(state), ids, depth + 2))
    return modules, torch.cat(out)


def add_mtp(model, modules, folder):
    """Adds the modules to the folder's weights, embedding and head with them as the published checkpoint has it."""
    from safetensors.torch import load_file, save_file
    weights = load_file(os.path.join(folder, "model.safetensors"))
    first = model.config.num_hidden_layers
    for depth, module in enumerate(modules.layers):
        weights |= mtp_tensors(module, first + depth)
        weights[f"model.layers.{first + depth}.embed_tokens.weight"] = model.model.embed_tokens.weight.detach().clone()
        weights[f"model.layers.{first + depth}.shared_head.head.weight"] = model.lm_head.weight.detach().clone()
    save_file(weights, os.path.join(folder, "model.safetensors"), {"format": "pt"})


def gradients(torch, parameters, loss):
    parameters = list(parameters)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)]


def put(parameters, values):
    for parameter, value in zip(list(parameters), values):
        parameter.data = value


def published(config):
    config = dict(config)
    rope_parameters = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope_parameters.pop("rope_theta")
    kind = rope_parameters.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind} | rope_parameters
    return config


def make(torch, transformers, save_file, name, folder):
    kind, values = CONFIGS[name]
    torch.manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    config = getattr(transformers, kind + "Config")(**values)
    model = getattr(transformers, kind + "ForCausalLM")(config).eval()
    model.set_attn_implementation("eager")
    randomise(torch, model)
    model.save_pretrained(folder)
    sequences = [torch.randint(0, config.vocab_size, (length,)) for length in LENGTHS]
    own = torch.cat([logprobs(torch, model(ids[None]).logits, ids, 1) for ids in sequences])
    reference = dict(tokens=torch.cat(sequences), lengths=torch.tensor(LENGTHS), logprobs=own.detach(),
                     frequencies=model.model.rotary_emb.inv_freq)
    grads = gradients(torch, model.parameters(), -own.sum())
    modules = None
    if getattr(config, "num_nextn_predict_layers", 0) > 0:
        modules, ahead = make_mtp(torch, model, sequences)
        add_mtp(model, modules, folder)
        reference["mtp_logprobs"] = ahead.detach()
        modules_only = list(modules.layers.parameters())
        mtp_grads = gradients(torch, [*model.parameters(), *modules_only], -ahead.sum())
    with open(os.path.join(folder, "published.json"), "w") as file, open(os.path.join(folder, "config.json")) as read:
        json.dump(published(json.load(read)), file)
    low = getattr(transformers, kind + "ForCausalLM").from_pretrained(folder, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        parts = [logprobs(torch, low(ids[None]).logits, ids, 1) for ids in sequences]
    reference["bfloat16_logprobs"] = torch.cat(parts).float()
    save_file(reference, os.path.join(folder, "reference.safetensors"))
    put(model.parameters(), grads)
    model.save_pretrained(os.path.join(folder, "grads"))
    if modules is not None:
        put([*model.parameters(), *modules_only], mtp_grads)
        model.save_pretrained(os.path.join(folder, "mtp_grads"))
        add_mtp(model, modules, os.path.join(folder, "mtp_grads"))


def main(folder):
    stamp = hashlib.sha256(open(__file__, "rb").read()).hexdigest()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = os.path.join(folder, "stamp")
        if os.path.exists(path) and open(path).read() == stamp:
            return
        os.environ["HF_HUB_OFFLINE"] = "1"
        import torch
        import transformers
        from safetensors.torch import save_file
        transformers.logging.set_verbosity_error()
        for name in os.listdir(folder):
            if name != "lock" and os.path.isdir(os.path.join(folder, name)):
                shutil.rmtree(os.path.join(folder, name))
        for name in CONFIGS:
            make(torch, transformers, save_file, name, os.path.join(folder, name))
        with open(path, "w") as file:
            file.write(stamp)


main(*sys.argv[1:])
