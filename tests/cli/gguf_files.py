"""Makes GGUF files of small random models the way llama.cpp's converter does: tensor names from the package gguf, its
quantisers, Llama's reordered queries and keys, DeepSeek's stacked experts and divided key-value projection."""
import gguf
import numpy as np
import torch

TYPES = gguf.GGMLQuantizationType


def reorder(weight, heads):
    """llama.cpp's order of the rows of Llama's queries and keys."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def add_tokenizer(writer, tokenizer, pre, eos, chat_template, padding):
    """tokenizer: the parsed tokenizer.json; padding: tokens without text behind it."""
    tokens = {i: (text, gguf.TokenType.NORMAL) for text, i in tokenizer["model"]["vocab"].items()}
    for token in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        tokens[token["id"]] = (token["content"], kind)
    texts, kinds = zip(*(tokens[i] for i in range(len(tokens))))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*texts, *(f"[PAD{i}]" for i in range(padding))])
    writer.add_token_types([*kinds, *[gguf.TokenType.UNUSED] * padding])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(eos)
    writer.add_add_bos_token(tokenizer["post_processor"] is not None)
    if tokenizer["post_processor"]:
        writer.add_bos_token_id(0)
    writer.add_chat_template(chat_template)
    return len(texts) + padding


def add_common(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    rope = config.rope_parameters
    if rope["rope_type"] in ("yarn", "linear"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
        if rope["rope_type"] == "yarn":
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def add_dense(writer, config):
    add_common(writer, config)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)


def add_deepseek(writer, config, split):
    add_common(writer, config)
    c = config
    if c.q_lora_rank:
        writer.add_q_lora_rank(c.q_lora_rank)
    writer.add_kv_lora_rank(c.kv_lora_rank)
    key = c.qk_nope_head_dim + c.qk_rope_head_dim
    writer.add_head_count_kv(1 if split else c.num_attention_heads)
    writer.add_key_length(c.kv_lora_rank + c.qk_rope_head_dim if split else key)
    writer.add_value_length(c.kv_lora_rank if split else c.v_head_dim)
    if split:
        writer.add_key_length_mla(key)
        writer.add_value_length_mla(c.v_head_dim)
    writer.add_rope_dimension_count(c.qk_rope_head_dim)
    writer.add_expert_count(c.n_routed_experts)
    writer.add_expert_used_count(c.num_experts_per_tok)
    writer.add_expert_shared_count(c.n_shared_experts)
    writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    writer.add_leading_dense_block_count(c.first_k_dense_replace)
    writer.add_expert_weights_scale(c.routed_scaling_factor)
    writer.add_expert_weights_norm(bool(c.norm_topk_prob))
    sigmoid = c.model_type == "deepseek_v3"
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)
    if c.n_group:
        writer.add_uint32("deepseek2.expert_group_count", c.n_group)
        writer.add_uint32("deepseek2.expert_group_used_count", c.topk_group)
    if c.rope_parameters["rope_type"] == "yarn":
        writer.add_rope_scaling_yarn_log_mul(0.1 * c.rope_parameters["mscale_all_dim"])


def per_expert(state, config):
    """transformers 5 stacks experts in its modules; published checkpoints, and llama.cpp's converter, have one by one."""
    out = {}
    for name, value in state.items():
        if name.endswith("mlp.experts.gate_up_proj"):
            gate, up = value.chunk(2, 1)
            out[name.replace("gate_up_proj", "gate_proj.weight")] = gate
            out[name.replace("gate_up_proj", "up_proj.weight")] = up
        elif name.endswith("mlp.experts.down_proj"):
            out[name + ".weight"] = value
        else:
            out[name] = value
    return out


def llama3_factors(config):
    rope = config.rope_parameters
    base, dim = rope["rope_theta"], config.hidden_size // config.num_attention_heads
    wavelength = 2 * np.pi * base ** (np.arange(0, dim, 2, dtype=np.float64) / dim)
    low, high = (rope["original_max_position_embeddings"] / rope[k] for k in ("low_freq_factor", "high_freq_factor"))
    smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
        rope["high_freq_factor"] - rope["low_freq_factor"])
    middle = 1 / ((1 - smooth) / rope["factor"] + smooth)
    return np.where(wavelength < high, 1, np.where(wavelength > low, rope["factor"], middle)).astype(np.float32)


def write(path, model, architecture, kind, tokenizer, pre, eos, chat_template="{{ messages }}", split=False, padding=2):
    """Writes `model`, and puts the values that the quantised tensors decode to into it."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    if architecture == "deepseek2":
        add_deepseek(writer, config, split)
    else:
        add_dense(writer, config)
    size = add_tokenizer(writer, tokenizer, pre, eos, chat_template, padding)
    assert size == config.vocab_size, (size, config.vocab_size)
    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))

    def add(name, data):
        """The values that a reader gets back."""
        rows_fit = data.ndim > 1 and data.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        used = kind if rows_fit else TYPES.F32
        packed = gguf.quants.quantize(np.ascontiguousarray(data), used)
        writer.add_tensor(name, packed, raw_dtype=used)
        return gguf.quants.dequantize(packed, used).reshape(data.shape)

    state = model.state_dict()
    for name, tensor in per_expert(state, config).items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        data = tensor.float().numpy()
        layer_heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        part = name.split(".")[-2]
        if name.endswith("e_score_correction_bias"):
            new = names.get_name(name, try_suffixes=(".bias",)) or names.get_name(name + ".bias", try_suffixes=(".bias",))
            writer.add_tensor(f"blk.{name.split('.')[2]}.exp_probs_b.bias", data)
            continue
        if name.endswith("kv_b_proj.weight") and split:
            layer, heads = name.split(".")[2], config.num_attention_heads
            both = data.reshape(heads, config.qk_nope_head_dim + config.v_head_dim, -1)
            keys = add(f"blk.{layer}.attn_k_b.weight", both[:, :config.qk_nope_head_dim].swapaxes(1, 2))
            values = add(f"blk.{layer}.attn_v_b.weight", both[:, config.qk_nope_head_dim:])
            back = np.concatenate([keys.swapaxes(1, 2), values], 1).reshape(data.shape)
        elif architecture == "llama" and part in layer_heads:
            heads = layer_heads[part]
            stored = add(names.get_name(name, try_suffixes=(".weight", ".bias")), reorder(data, heads))
            halves = stored.reshape(heads, stored.shape[0] // heads // 2, 2, -1).swapaxes(1, 2)
            back = halves.reshape(data.shape)
        else:
            new = names.get_name(name, try_suffixes=(".weight", ".bias"))
            assert new, name
            back = add(new, data)
        put_back(model, state, name, torch.from_numpy(np.ascontiguousarray(back)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def put_back(model, state, name, value):
    if name in state:
        state[name].copy_(value)
    elif name.endswith("down_proj.weight"):
        state[name.removesuffix(".weight")].copy_(value)
    else:
        stacked = state[name.rsplit(".", 2)[0] + ".gate_up_proj"]
        stacked.chunk(2, 1)[0 if "gate_proj" in name else 1].copy_(value)
