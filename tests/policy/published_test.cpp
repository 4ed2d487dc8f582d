// DeepSeek-V3 in full size, on meta tensors: names and shapes of the published checkpoint, 671 B
// parameters of which 37 B are active, in no memory.
#include <chrono>
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "policy/model.h"
#include "tests/support/process.h"

namespace ponder::policy {
namespace {

using Shapes = std::map<std::string, std::vector<int64_t>>;

// The checkpoint's names, written out from the paper's sizes (arXiv:2412.19437 §4.2) and the
// published index, with no use of the model's own code.
void add_mlp(Shapes& out, const std::string& prefix, int64_t width) {
  out[prefix + "gate_proj.weight"] = {width, 7168};
  out[prefix + "up_proj.weight"] = {width, 7168};
  out[prefix + "down_proj.weight"] = {7168, width};
}

void add_layer(Shapes& out, int layer) {
  const std::string p = "model.layers." + std::to_string(layer) + ".";
  const std::string a = p + "self_attn.", m = p + "mlp.";
  out[p + "input_layernorm.weight"] = out[p + "post_attention_layernorm.weight"] = {7168};
  out[a + "q_a_proj.weight"] = {1536, 7168};
  out[a + "q_a_layernorm.weight"] = {1536};
  out[a + "q_b_proj.weight"] = {128 * (128 + 64), 1536};
  out[a + "kv_a_proj_with_mqa.weight"] = {512 + 64, 7168};
  out[a + "kv_a_layernorm.weight"] = {512};
  out[a + "kv_b_proj.weight"] = {128 * (128 + 128), 512};
  out[a + "o_proj.weight"] = {7168, 128 * 128};
  if (layer < 3) return add_mlp(out, m, 18432);
  out[m + "gate.weight"] = {256, 7168};
  out[m + "gate.e_score_correction_bias"] = {256};
  add_mlp(out, m + "shared_experts.", 2048);
  for (int e = 0; e < 256; ++e) add_mlp(out, m + "experts." + std::to_string(e) + ".", 2048);
}

Shapes published_shapes() {
  Shapes out;
  out["model.embed_tokens.weight"] = out["lm_head.weight"] = {129280, 7168};
  out["model.norm.weight"] = {7168};
  for (int layer = 0; layer <= 61; ++layer) add_layer(out, layer);
  const std::string p = "model.layers.61.";  // the module for multi-token prediction
  out[p + "enorm.weight"] = out[p + "hnorm.weight"] = out[p + "shared_head.norm.weight"] = {7168};
  out[p + "eh_proj.weight"] = {7168, 2 * 7168};
  out[p + "embed_tokens.weight"] = out[p + "shared_head.head.weight"] = {129280, 7168};
  return out;
}

ModelConfig full_config() {
  const std::string path = "tests/policy/configs/deepseek_v3_671b.json";
  return parse_config(test::read_text(path), path);
}

int64_t peak_memory_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(DeepseekV3In671B, EveryNameAndShapeIsThePublishedCheckpoints) {
  const Model model = Model::meta(full_config());
  Shapes got;
  for (const auto& list : {model.parameters(), model.shared_parameters()})
    for (const Parameter& p : list) EXPECT_TRUE(got.emplace(p.name, p.tensor.sizes().vec()).second);
  const Shapes want = published_shapes();
  EXPECT_EQ(want.size(), 3u + 62 * 9 + 3 * 3 + 59u * (2 + 3 + 256 * 3) + 6);
  EXPECT_TRUE(got == want);
  for (const auto& [name, shape] : want)
    if (!got.contains(name)) ADD_FAILURE() << name << " is missing";
}

TEST(DeepseekV3In671B, CountsComeOutAsPublished) {
  const Model model = Model::meta(full_config());
  EXPECT_NEAR(static_cast<double>(parameter_count(model, /*with_mtp=*/false)), 671e9, 0.5e9);
  EXPECT_NEAR(static_cast<double>(active_parameter_count(model)), 37e9, 0.6e9);
  // The checkpoint as published, its module with a second embedding and head: 685 B.
  int64_t all = parameter_count(model);
  for (const Parameter& p : model.shared_parameters()) all += p.tensor.numel();
  EXPECT_NEAR(static_cast<double>(all), 685e9, 1e9);
  EXPECT_EQ(model.cache_bytes_per_token() / 4, 61 * (512 + 64));
}

TEST(DeepseekV3In671B, TakesNoMemory) {
  const int64_t before = peak_memory_kib();
  const auto start = std::chrono::steady_clock::now();
  const Model model = Model::meta(full_config());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_LT(peak_memory_kib() - before, 300 << 10);
  EXPECT_LT(elapsed.count(), 20);
  for (const Parameter& p : model.parameters()) EXPECT_TRUE(p.tensor.is_meta());
}

}  // namespace
}  // namespace ponder::policy
