// Rotary position embedding (RoFormer, arXiv:2104.09864) and its extensions to longer contexts, as
// config.json states them: under rope_theta and rope_scaling in published checkpoints, under
// rope_parameters since transformers 5.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

class ConfigKeys;

enum class RopeType { kDefault, kLinear, kYarn, kLlama3 };

// The keys' names and meanings are transformers'.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 1e4;
  double factor = 1;            // linear, yarn, llama3: how much longer the context becomes
  int64_t original_length = 0;  // yarn, llama3: original_max_position_embeddings
  double beta_fast = 32;        // yarn: rotations above which a frequency stays as it is
  double beta_slow = 1;         // yarn: rotations below which it is divided by `factor`
  bool truncate = true;         // yarn: the bounds between them are rounded to whole dimensions
  double attention_factor = 1;  // yarn: of cosines and sines
  double mscale_all_dim = 0;    // read by MLA's softmax scale; 0: absent
  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 4;  // llama3
};

// Throws UserError naming the key: a rope type that is unknown or not supported, missing or
// impossible values.
RopeConfig read_rope(const ConfigKeys& keys, int64_t max_position_embeddings);

// Angle per position of each pair of `dim` features, float32 [dim / 2]: theta^(-2 i / dim), changed
// as the type says. YaRN: arXiv:2309.00071 §3.2; llama3: Llama 3.1's reference code.
std::vector<float> rope_frequencies(const RopeConfig& config, int64_t dim);

// By how much MLA multiplies its softmax scale: DeepSeek's mscale(factor, mscale_all_dim)^2.
double mla_scale_factor(const RopeConfig& config);

// Cosines and sines of each token's angles, float32 [tokens, dim / 2].
struct Rotary {
  at::Tensor cos;
  at::Tensor sin;
};

// positions int64 [tokens]. Cosines and sines are multiplied by `scale`.
Rotary rotary_tables(const at::Tensor& positions, const std::vector<float>& frequencies,
                     double scale = 1);

}  // namespace ponder::policy
