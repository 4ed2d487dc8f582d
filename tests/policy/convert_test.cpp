#include "policy/convert.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/fp8.h"
#include "policy/hf_folder.h"
#include "policy/model.h"
#include "policy/safetensors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/temp_dir.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

const fs::path kShipped = fs::path(PONDER_SOURCE_DIR) / "examples/tiny-v3-base";

class ConvertTest : public ::testing::Test {
 protected:
  // The shipped model with its matrices in FP8 and block scales, as DeepSeek-V3 is published.
  fs::path fp8_folder(const std::function<void(NamedTensors&, json&)>& change = {}) {
    const fs::path folder = temp_.path() / "fp8";
    fs::create_directory(folder);
    NamedTensors tensors;
    const WeightFolder weights(kShipped);
    for (const std::string& name : weights.names()) {
      const at::Tensor tensor = weights.load(name, at::kFloat);
      const bool kept =
          tensor.dim() != 2 || name.starts_with("model.embed") || name == "lm_head.weight";
      if (kept) {
        tensors.emplace_back(name, name.ends_with("bias") ? tensor : tensor.to(at::kBFloat16));
        continue;
      }
      const Fp8Matrix m = quantize_fp8(tensor, kFp8Blocks);
      tensors.emplace_back(name, m.values);
      tensors.emplace_back(name + "_scale_inv", m.scales);
    }
    json config = json::parse(core::read_file(kShipped / "config.json", "config"));
    config["quantization_config"] = {{"activation_scheme", "dynamic"},
                                     {"fmt", "e4m3"},
                                     {"quant_method", "fp8"},
                                     {"weight_block_size", {128, 128}}};
    if (change) change(tensors, config);
    save_safetensors(folder / "model.safetensors", tensors);
    core::write_file_atomic(folder / "config.json", config.dump());
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy_file(kShipped / name, folder / name);
    return folder;
  }

  // The shipped model with its tensors changed.
  fs::path plain_folder(const std::function<void(NamedTensors&)>& change) {
    const fs::path folder = temp_.path() / "plain";
    fs::create_directory(folder);
    NamedTensors tensors;
    const WeightFolder weights(kShipped);
    for (const std::string& name : weights.names())
      tensors.emplace_back(name, weights.load(name, weights.info(name).dtype));
    change(tensors);
    save_safetensors(folder / "model.safetensors", tensors);
    for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json"})
      fs::copy_file(kShipped / name, folder / name);
    return folder;
  }

  // What convert_model says of `in`; nothing may be left behind.
  std::string error_of(const fs::path& in, const ConvertOptions& options = {}) {
    const fs::path place = temp_.path() / "place";
    fs::create_directory(place);
    std::string said = "no error";
    try {
      convert_model(in, place / "out", options);
    } catch (const core::UserError& error) {
      said = error.what();
    }
    EXPECT_TRUE(fs::is_empty(place)) << "something was left behind";
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
    return said;
  }

  fs::path file_of(const std::string& bytes) {
    std::ofstream(temp_.path() / "m.gguf", std::ios::binary) << bytes;
    return temp_.path() / "m.gguf";
  }

  test::TempDir temp_;
};

TEST_F(ConvertTest, Fp8FolderBecomesTheModelThatLoadsFromIt) {
  const fs::path in = fp8_folder(), out = temp_.path() / "out";
  const ConvertReport report = convert_model(in, out, {.max_shard_bytes = 300'000});
  EXPECT_TRUE(fs::exists(out / "model.safetensors.index.json"));
  EXPECT_TRUE(fs::exists(out / "tokenizer.json"));
  const json config = json::parse(core::read_file(out / "config.json", "config"));
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  const Model decoded = Model::load(out, at::kBFloat16), direct = Model::load(in, at::kBFloat16);
  ASSERT_EQ(report.tensors, static_cast<int64_t>(direct.parameters().size()));
  EXPECT_EQ(report.parameters, parameter_count(direct));
  const WeightFolder original(kShipped);
  for (size_t i = 0; i < direct.parameters().size(); ++i) {
    const Parameter &a = decoded.parameters()[i], &b = direct.parameters()[i];
    EXPECT_TRUE(at::equal(a.tensor, b.tensor)) << a.name;
    const at::Tensor want = original.load(a.name, at::kFloat);
    EXPECT_LT((a.tensor.to(at::kFloat) - want).norm().item<float>(),
              0.04 * want.norm().item<float>() + 1e-6)
        << a.name;
  }
}

TEST_F(ConvertTest, ExistingFolderIsLeftAlone) {
  const fs::path out = temp_.path() / "out";
  fs::create_directory(out);
  std::ofstream(out / "mine") << "mine";
  EXPECT_THROW(convert_model(kShipped, out, {}), core::UserError);
  EXPECT_EQ(core::read_file(out / "mine", "mine"), "mine");
  EXPECT_EQ(std::distance(fs::directory_iterator(temp_.path()), fs::directory_iterator()), 1);
}

TEST_F(ConvertTest, WrongFoldersAreErrorsThatNameTheTensor) {
  using Change = std::function<void(NamedTensors&, json&)>;
  const auto find = [](NamedTensors& tensors, const std::string& name) -> at::Tensor& {
    for (auto& [key, tensor] : tensors)
      if (key == name) return tensor;
    throw std::runtime_error(name);
  };
  const std::string norm = "model.layers.0.input_layernorm.weight";
  const std::string matrix = "model.layers.0.self_attn.o_proj.weight";
  const struct {
    Change change;
    const char* says;
  } cases[] = {
      {[&](NamedTensors& t, json&) { find(t, norm) = at::full({96}, NAN, at::kBFloat16); },
       "tensor 'model.layers.0.input_layernorm.weight' holds values that are not finite"},
      {[&](NamedTensors& t, json&) { find(t, matrix + "_scale_inv").fill_(INFINITY); },
       "o_proj.weight' holds values that are not finite"},
      {[&](NamedTensors& t, json&) {
         std::erase_if(t, [&](const auto& e) { return e.first == matrix + "_scale_inv"; });
       },
       "without its block scales 'model.layers.0.self_attn.o_proj.weight_scale_inv'"},
      {[&](NamedTensors& t, json&) {
         find(t, matrix + "_scale_inv") = at::ones({3, 3});
       },
       "of shape [3, 3], expected floating point of shape [1, 1]"},
      {[&](NamedTensors&, json& c) {
         c["quantization_config"] = {{"quant_method", "gptq"}};
       },
       "quantization_config: expected quant_method fp8"},
      {[&](NamedTensors&, json& c) {
         c["quantization_config"]["weight_block_size"] = {64, 64};
       },
       "weight_block_size [128, 128]"},
      {[&](NamedTensors&, json& c) { c["model_type"] = "deepseek_v4"; }, "'deepseek_v4'"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.says);
    EXPECT_THAT(error_of(fp8_folder(c.change)), HasSubstr(c.says));
    fs::remove_all(temp_.path() / "fp8");
  }
}

// What Model::load would refuse of the result is refused before anything is written.
TEST_F(ConvertTest, FoldersThatDoNotFitTheirConfigAreErrors) {
  const std::string matrix = "model.layers.0.mlp.gate_proj.weight";
  const struct {
    std::function<void(NamedTensors&)> change;
    const char* says;
  } cases[] = {
      {[](NamedTensors& t) {
         std::erase_if(t, [](const auto& e) { return e.first == "model.norm.weight"; });
       },
       "'model.norm.weight'"},
      {[](NamedTensors& t) { t.emplace_back("extra.weight", at::zeros({3})); },
       "unexpected tensor 'extra.weight'"},
      {[](NamedTensors& t) {
         for (auto& [name, tensor] : t)
           if (name == "model.norm.weight") tensor = at::ones({5});
       },
       "tensor 'model.norm.weight': expected shape [96] from config.json, found [5]"},
      {[&](NamedTensors& t) {
         for (auto& [name, tensor] : t)
           if (name == matrix) tensor = tensor.to(at::kInt);
       },
       "gate_proj.weight': expected floating point, found Int"},
      {[&](NamedTensors& t) {
         for (auto& [name, tensor] : t)
           if (name == matrix) tensor = tensor.narrow(0, 0, 0);
       },
       "gate_proj.weight': expected shape"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.says);
    const fs::path in = plain_folder(c.change);
    EXPECT_THAT(error_of(in), HasSubstr(c.says));
    EXPECT_THROW(Model::load(in, at::kFloat), core::UserError);
    fs::remove_all(in);
  }
}

TEST_F(ConvertTest, WhatIsNoWeightGoesAlong) {
  const fs::path in = plain_folder([](NamedTensors&) {}), out = temp_.path() / "out";
  json config = json::parse(core::read_file(in / "config.json", "config"));
  config["quantization_config"] = nullptr;
  core::write_file_atomic(in / "config.json", config.dump());
  core::write_file_atomic(in / "generation_config.json",
                          R"({"eos_token_id": 2, "temperature": 0.6, "top_p": 0.95})");
  fs::create_directory(in / "chat_templates");
  core::write_file_atomic(in / "chat_templates/tool_use.jinja", "tools");
  convert_model(in, out, {});
  const Model model = Model::load(out, at::kFloat);
  const fs::path saved = temp_.path() / "saved";
  fs::create_directory(saved);
  save_hf_folder(model, at::kFloat, out, saved);
  for (const fs::path& folder : {out, saved}) {
    const json read = json::parse(core::read_file(folder / "generation_config.json", "generation"));
    EXPECT_EQ(read["temperature"], 0.6);
    EXPECT_EQ(read["top_p"], 0.95);
    EXPECT_EQ(core::read_file(folder / "chat_templates/tool_use.jinja", "template"), "tools");
  }
}

TEST_F(ConvertTest, ValuesBeyondFloat16AreAnError) {
  const fs::path in = fp8_folder([](NamedTensors& tensors, json&) {
    for (auto& [name, tensor] : tensors)
      if (name == "model.norm.weight") tensor = at::full({96}, 1e6, at::kBFloat16);
  });
  EXPECT_THAT(error_of(in, {.dtype = at::kHalf}),
              HasSubstr("'model.norm.weight' holds values that are not finite in Half"));
}

// A llama whose only tensors are an embedding and what a case adds.
std::string gguf_with(const std::string& tensor_name, const std::vector<uint64_t>& sizes,
                      float filler) {
  test::GgufBuilder file;
  file.head(tensor_name.empty() ? 1 : 2, 13)
      .value("general.architecture", "llama")
      .value("llama.embedding_length", 4, uint32_t{32})
      .value("llama.feed_forward_length", 4, uint32_t{64})
      .value("llama.block_count", 4, uint32_t{1})
      .value("llama.attention.head_count", 4, uint32_t{4})
      .value("llama.context_length", 4, uint32_t{128})
      .value("llama.attention.layer_norm_rms_epsilon", 6, 1e-6f)
      .value("tokenizer.ggml.model", "gpt2")
      .value("tokenizer.ggml.pre", "gpt-2")
      .texts("tokenizer.ggml.tokens", {"<end>", "a", "b", "ab"})
      .texts("tokenizer.ggml.merges", {"a b"})
      .value("tokenizer.ggml.eos_token_id", 4, uint32_t{0})
      .list("tokenizer.ggml.token_type", 5, 4);
  for (const int32_t type : {3, 1, 1, 1}) file.put(type);
  file.tensor("token_embd.weight", {32, 4}, 0, 0);
  if (!tensor_name.empty()) file.tensor(tensor_name, sizes, 0, 512);
  file.data(0);
  for (int i = 0; i < 32 * 4; ++i) file.put(filler);
  return file.data(1 << 14).bytes();
}

TEST_F(ConvertTest, WrongGgufFilesAreErrorsThatNameTheTensor) {
  EXPECT_THAT(error_of(file_of(gguf_with("blk.0.attn_x.weight", {32, 32}, 1))),
              HasSubstr("tensor 'blk.0.attn_x.weight' belongs to no part of a llama"));
  EXPECT_THAT(error_of(file_of(gguf_with("blk.7.attn_q.weight", {32, 32}, 1))),
              HasSubstr("tensor 'blk.7.attn_q.weight' belongs to no part of a llama"));
  EXPECT_THAT(error_of(file_of(gguf_with("blk.0.attn_q.weight", {32, 30}, 1))),
              HasSubstr("tensor 'blk.0.attn_q.weight'"));
  EXPECT_THAT(error_of(file_of(gguf_with("", {}, 1))),
              HasSubstr("no tensor stands for 'model.layers.0."));
  EXPECT_THAT(error_of(file_of(gguf_with("", {}, NAN))), HasSubstr("m.gguf"));
  EXPECT_THAT(error_of(file_of("GGUF")), HasSubstr("m.gguf: byte 4"));
  EXPECT_THAT(error_of(temp_.path() / "none"),
              HasSubstr("expected a GGUF file or a Hugging Face folder"));
}

}  // namespace
}  // namespace ponder::policy
