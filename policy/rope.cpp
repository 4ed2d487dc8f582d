#include "policy/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "core/spelling.h"
#include "policy/config_keys.h"

namespace ponder::policy {
namespace {

// Tokens that one thread takes at least.
constexpr int64_t kGrainTokens = 64;

RopeType rope_type(const ConfigKeys& keys) {
  const std::string type = keys.text("rope_type", keys.text("type", "default"));
  if (type == "default") return RopeType::kDefault;
  if (type == "linear") return RopeType::kLinear;
  if (type == "yarn") return RopeType::kYarn;
  if (type == "llama3") return RopeType::kLlama3;
  const bool known = type == "dynamic" || type == "longrope" || type == "proportional" ||
                     type == "axial" || type == "su" || type == "mrope";
  if (known) {
    core::throw_user(
        "{}: rope type '{}' is not supported, expected one of default, linear, yarn, llama3",
        keys.name(), type);
  }
  core::throw_user("{}: unknown rope type '{}'{}", keys.name(), type,
                   core::suggestion(type, {"default", "linear", "yarn", "llama3"}));
}

// YaRN's temperature, arXiv:2309.00071 eq. 22, with DeepSeek-V2's weight.
double mscale(double factor, double weight) {
  return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1;
}

void read_yarn(const ConfigKeys& keys, int64_t max_position_embeddings, RopeConfig& rope) {
  // transformers takes 0 as absent here.
  const auto or_default = [&](const char* key, double fallback) {
    const double value = keys.number(key, fallback);
    return value == 0 ? fallback : value;
  };
  if (!keys.has("factor")) {
    rope.factor =
        static_cast<double>(max_position_embeddings) / static_cast<double>(rope.original_length);
  }
  rope.beta_fast = or_default("beta_fast", 32);
  rope.beta_slow = or_default("beta_slow", 1);
  keys.require(rope.beta_fast > 0 && rope.beta_slow > 0, "beta_fast, beta_slow: expected above 0");
  keys.require(rope.theta > 1, fmt::format("rope_theta: expected above 1, found {}", rope.theta));
  // transformers takes null as false here.
  rope.truncate = keys.boolean("truncate", !keys.mentions("truncate"));
  const double weight = keys.number("mscale", 0);
  const bool both = weight != 0 && rope.mscale_all_dim != 0;
  rope.attention_factor =
      keys.positive("attention_factor",
                    both ? mscale(rope.factor, weight) / mscale(rope.factor, rope.mscale_all_dim)
                         : mscale(rope.factor, 1));
}

void read_llama3(const ConfigKeys& keys, RopeConfig& rope) {
  rope.low_freq_factor = keys.positive("low_freq_factor");
  rope.high_freq_factor = keys.positive("high_freq_factor");
  keys.require(rope.high_freq_factor > rope.low_freq_factor,
               fmt::format("high_freq_factor {} is not above low_freq_factor {}",
                           rope.high_freq_factor, rope.low_freq_factor));
}

RopeConfig read_scaling(const ConfigKeys& keys, const ConfigKeys& outer, double theta,
                        int64_t max_position_embeddings) {
  for (const char* layer_type : {"full_attention", "sliding_attention"}) {
    keys.require(!keys.has(layer_type),
                 fmt::format("{}: rotations that differ by layer are not supported", layer_type));
  }
  RopeConfig rope{.type = rope_type(keys), .theta = keys.positive("rope_theta", theta)};
  keys.require(keys.number("partial_rotary_factor", 1) == 1,
               "partial_rotary_factor: expected 1, others are not supported");
  if (rope.type == RopeType::kDefault) return rope;
  rope.mscale_all_dim = keys.number("mscale_all_dim", 0);
  const bool derived = rope.type == RopeType::kYarn && keys.mentions("factor");
  rope.factor = derived ? keys.positive("factor", 1) : keys.positive("factor");
  if (rope.type == RopeType::kLinear) return rope;
  const char* original = "original_max_position_embeddings";
  rope.original_length = outer.has(original) ? outer.integer(original, 1)
                                             : keys.integer(original, 1, max_position_embeddings);
  if (rope.type == RopeType::kYarn) read_yarn(keys, max_position_embeddings, rope);
  if (rope.type == RopeType::kLlama3) read_llama3(keys, rope);
  return rope;
}

// The dimension pair (not rounded) whose wave turns `rotations` times within the original length,
// YaRN's appendix A.2.
double yarn_dimension(const RopeConfig& rope, double rotations, int64_t dim) {
  const double length = static_cast<double>(rope.original_length);
  return static_cast<double>(dim) * std::log(length / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// What follows is transformers' own arithmetic, operation by operation in float32: far into a long
// context even a frequency's last bit turns an angle visibly.

at::Tensor yarn_frequencies(const RopeConfig& rope, int64_t dim, const at::Tensor& wavelengths) {
  double low = yarn_dimension(rope, rope.beta_fast, dim),
         high = yarn_dimension(rope, rope.beta_slow, dim);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // as the reference does, against a division by 0
  const at::Tensor ramp = ((at::arange(dim / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  const at::Tensor keep = 1.0 - ramp;
  return 1.0 / (rope.factor * wavelengths) * (1.0 - keep) + 1.0 / wavelengths * keep;
}

at::Tensor llama3_frequencies(const RopeConfig& rope, const at::Tensor& frequencies) {
  const auto length = static_cast<double>(rope.original_length);
  const double longest = length / rope.low_freq_factor, shortest = length / rope.high_freq_factor;
  const at::Tensor turn = 2 * std::numbers::pi / frequencies;
  const at::Tensor ends = at::where(turn > longest, frequencies / rope.factor, frequencies);
  const at::Tensor smooth =
      (length / turn - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor between = (1.0 - smooth) * ends / rope.factor + smooth * ends;
  return at::where(turn.ge(shortest).logical_and(turn.le(longest)), between, ends);
}

}  // namespace

RopeConfig read_rope(const ConfigKeys& keys, int64_t max_position_embeddings) {
  const double theta = keys.positive("rope_theta", 1e4);
  keys.require(keys.number("partial_rotary_factor", 1) == 1,
               "partial_rotary_factor: expected 1, others are not supported");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!keys.has(key)) continue;
    if (!keys[key].is_object()) {
      core::throw_user("{}: {}: expected an object, found {}", keys.name(), key, keys[key].dump());
    }
    if (keys[key].empty()) continue;
    const std::string name = keys.name() + ": " + key;
    return read_scaling(ConfigKeys(keys[key], name), keys, theta, max_position_embeddings);
  }
  return {.theta = theta};
}

std::vector<float> rope_frequencies(const RopeConfig& config, int64_t dim) {
  const at::Tensor wavelengths =
      at::pow(config.theta, at::arange(0, dim, 2, at::kLong).to(at::kFloat) / dim);
  at::Tensor out = 1.0 / wavelengths;
  if (config.type == RopeType::kYarn) out = yarn_frequencies(config, dim, wavelengths);
  if (config.type == RopeType::kLlama3) out = llama3_frequencies(config, out);
  if (config.type == RopeType::kLinear) out = out / config.factor;
  return {out.const_data_ptr<float>(), out.const_data_ptr<float>() + out.numel()};
}

double mla_scale_factor(const RopeConfig& config) {
  if (config.mscale_all_dim == 0) return 1;
  const double m = mscale(config.factor, config.mscale_all_dim);
  return m * m;
}

Rotary rotary_tables(const at::Tensor& positions, const std::vector<float>& frequencies,
                     double scale) {
  const int64_t tokens = positions.size(0), half = static_cast<int64_t>(frequencies.size());
  Rotary out{at::empty({tokens, half}, at::kFloat), at::empty({tokens, half}, at::kFloat)};
  const int64_t* position = positions.const_data_ptr<int64_t>();
  float *c = out.cos.data_ptr<float>(), *s = out.sin.data_ptr<float>();
  const auto factor = static_cast<float>(scale);
  at::parallel_for(0, tokens, kGrainTokens, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(position[t]) * frequencies[i];
        c[t * half + i] = std::cos(angle) * factor;
        s[t * half + i] = std::sin(angle) * factor;
      }
    }
  });
  return out;
}

}  // namespace ponder::policy
