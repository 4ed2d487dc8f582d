#include "cli/model_inspect.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <unordered_map>

#include <fmt/ranges.h>

#include "policy/hf_folder.h"
#include "policy/model.h"

namespace ponder::cli {
namespace {

namespace fs = std::filesystem;

// "model.layers.*.mlp.experts.*.up_proj.weight": tensors that repeat share a line.
std::string pattern_of(const std::string& name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool number = std::isdigit(static_cast<unsigned char>(name[i])) && i > 0 &&
                        (name[i - 1] == '.' || out.back() == '*');
    if (!number) out += name[i];
    if (number && out.back() != '*') out += '*';
  }
  return out;
}

void print_tensors(const policy::Model& model) {
  std::vector<std::string> order;
  std::unordered_map<std::string, int64_t> counts;
  for (const policy::Parameter& p : model.parameters()) {
    const std::string line =
        fmt::format("{} [{}]", pattern_of(p.name), fmt::join(p.tensor.sizes(), ", "));
    if (counts[line]++ == 0) order.push_back(line);
  }
  for (const std::string& line : order) {
    const int64_t count = counts[line];
    fmt::print("  {}{}\n", line, count > 1 ? fmt::format(" x {}", count) : "");
  }
}

// Features a token and layer that every head's own keys and values would take.
int64_t plain_cache_width(const policy::ModelConfig& c) {
  const bool mla = c.attention == policy::AttentionKind::kMla;
  return c.num_attention_heads *
         (mla ? c.mla.qk_head_dim() + c.mla.v_head_dim : 2 * c.gqa.head_dim);
}

void print_summary(const std::string& name, const policy::Model& model) {
  const policy::ModelConfig& c = model.config();
  const int64_t total = policy::parameter_count(model, /*with_mtp=*/false),
                all = policy::parameter_count(model),
                active = policy::active_parameter_count(model);
  const int64_t mixtures = std::max<int64_t>(0, c.num_hidden_layers - c.first_k_dense_replace);
  fmt::print("{}: {}, {} parameters ({:.3g} B)", name, c.model_type, total,
             static_cast<double>(total) / 1e9);
  if (active < total)
    fmt::print(", {} active for a token ({:.3g} B)", active, static_cast<double>(active) / 1e9);
  fmt::print("\n{} layers", c.num_hidden_layers);
  if (mixtures > 0) {
    fmt::print(" ({} of them mixtures of {} experts, {} for a token)", mixtures,
               c.moe.n_routed_experts, c.moe.num_experts_per_tok);
  }
  fmt::print(", hidden {}, {} heads, vocabulary {}, context {}\n", c.hidden_size,
             c.num_attention_heads, c.vocab_size, c.max_position_embeddings);
  if (model.num_mtp() > 0) {
    fmt::print("{} modules for multi-token prediction, {} parameters beside those above\n",
               model.num_mtp(), all - total);
  }
  const int64_t layers = c.num_hidden_layers;
  fmt::print(
      "cache: {} bytes a token in float32, {} in bfloat16; plain multi-head attention would take "
      "{} and {}\n",
      4 * layers * model.cache_width(), 2 * layers * model.cache_width(),
      4 * layers * plain_cache_width(c), 2 * layers * plain_cache_width(c));
}

bool has_weights(const fs::path& dir) {
  return fs::exists(dir / "model.safetensors") || fs::exists(dir / "model.safetensors.index.json");
}

void run_inspect(const fs::path& dir) {
  const policy::ModelConfig config = policy::read_config(dir);
  const bool weights = has_weights(dir);
  const policy::Model model =
      weights ? policy::Model::load(dir, at::kBFloat16) : policy::Model::meta(config);
  if (fs::exists(dir / "tokenizer.json")) {
    policy::check_tokenizer_fits(policy::Tokenizer::from_folder(dir), config, dir);
  }
  print_summary(dir.string(), model);
  if (!weights) fmt::print("no weights in this folder: this is what its config.json describes\n");
  print_tensors(model);
}

}  // namespace

void add_model_inspect(CLI::App& model) {
  auto dir = std::make_shared<fs::path>();
  CLI::App* verb = model.add_subcommand(
      "inspect", "size, shape and every tensor; of a folder with config.json alone as well");
  verb->add_option("--model", *dir, "a Hugging Face folder")->required();
  verb->callback([dir] { run_inspect(*dir); });
  verb->footer("Example:\n  ponder model inspect --model examples/tiny-v3-base");
}

}  // namespace ponder::cli
