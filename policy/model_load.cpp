// Where a model's values come from: a folder's weights or a seed.
#include <cmath>
#include <set>

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/random.h"
#include "policy/body.h"
#include "policy/check_weights.h"
#include "policy/model.h"
#include "policy/safetensors.h"

namespace ponder::policy {
namespace {

using core::throw_user;

// Matrices are drawn; of the vectors the norms are 1, biases (of linears, of balance) 0.
void fill_random(const Parameter& p, uint64_t seed) {
  if (p.tensor.dim() == 1) {
    p.tensor.fill_(p.trainable && p.name.ends_with(".weight") ? 1.0 : 0.0);
    return;
  }
  core::Rng rng(seed, core::stable_hash("init:" + p.name));
  const double deviation = 1.0 / std::sqrt(static_cast<double>(p.tensor.size(1)));
  const at::Tensor values = at::empty(p.tensor.sizes(), at::kFloat);
  float* data = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    data[i] = static_cast<float>(deviation * rng.normal());
  p.tensor.copy_(values);
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// The layer in model.layers.N.*, -1 where the name is no layer's.
int64_t layer_of(const std::string& name) {
  const std::string prefix = "model.layers.";
  return name.starts_with(prefix) ? std::atoll(name.c_str() + prefix.size()) : -1;
}

// How many modules for multi-token prediction the weights hold. transformers writes the config's
// number but no such module: then none.
int64_t mtp_modules_in(const WeightFolder& folder, const ModelConfig& config) {
  for (const std::string& name : folder.names())
    if (layer_of(name) >= config.num_hidden_layers) return config.num_nextn_predict_layers;
  return 0;
}

bool may_be_ignored(const std::string& name, const WeightFolder& folder,
                    const ModelConfig& config) {
  if (name.ends_with("rotary_emb.inv_freq")) return true;  // derived; old checkpoints keep it
  if (config.tie_word_embeddings && name == "lm_head.weight") return true;
  // A config that says nothing of modules for multi-token prediction does not use them. Other
  // layers beyond its number are a config that does not fit.
  const int64_t layer = layer_of(name);
  return config.num_nextn_predict_layers == 0 && layer >= config.num_hidden_layers &&
         folder.contains(fmt::format("model.layers.{}.eh_proj.weight", layer));
}

void refuse_surplus(const WeightFolder& folder, const Model& model, const std::string& head) {
  const ModelConfig& config = model.config();
  std::set<std::string> known = {head};
  for (const Parameter& p : model.parameters()) known.insert(p.name);
  for (const Parameter& p : model.shared_parameters()) known.insert(p.name);
  for (const std::string& name : folder.names()) {
    if (known.contains(name) || may_be_ignored(name, folder, config) || folder.is_block_scale(name))
      continue;
    throw_user("{}: unexpected tensor '{}': config.json describes a {} without it",
               folder.path().string(), name, config.model_type);
  }
}

void check_tensor(const WeightFolder& folder, const Parameter& p) {
  const std::string place = folder.path().string();
  const TensorInfo& info = folder.info(p.name);
  if (at::IntArrayRef(info.shape) != p.tensor.sizes()) {
    throw_user("{}: tensor '{}': expected shape {} from config.json, found {}", place, p.name,
               shape_text(p.tensor.sizes()), shape_text(info.shape));
  }
  if (!at::isFloatingType(info.dtype)) {
    throw_user("{}: tensor '{}': expected floating point, found {}", place, p.name,
               at::toString(info.dtype));
  }
}

// Before anything is allocated: what config.json claims is what the files hold.
void check_folder(const WeightFolder& folder, const ModelConfig& config,
                  const std::string& head = "") {
  const Model shapes = Model::meta(config);
  refuse_surplus(folder, shapes, head);
  for (const Parameter& p : shapes.parameters()) check_tensor(folder, p);
}

// NaN is the least and the greatest value of what holds one; no copy of x is made.
bool all_finite(const at::Tensor& x) {
  if (x.numel() == 0) return true;
  const auto [least, greatest] = at::aminmax(x);
  return std::isfinite(least.item<float>()) && std::isfinite(greatest.item<float>());
}

void load_tensor(const WeightFolder& folder, const Parameter& p) {
  folder.load_into(p.name, p.tensor);
  if (!all_finite(p.tensor)) {
    throw_user("{}: tensor '{}' holds values that are not finite: the checkpoint is damaged",
               folder.path().string(), p.name);
  }
}

// A head of its own in the files, where config.json says that the embedding is the head: old
// checkpoints keep a copy. Which one was meant where they differ is not ours to guess.
void check_tied_head(const WeightFolder& folder, const Model& model, const at::Tensor& embedding) {
  const std::string head = "lm_head.weight";
  if (!model.config().tie_word_embeddings || !folder.contains(head)) return;
  check_tensor(folder, {.name = head, .tensor = embedding});
  const at::Tensor own = at::empty_like(embedding);
  folder.load_into(head, own);
  if (at::equal(own, embedding)) return;
  throw_user(
      "{}: tensor 'lm_head.weight' differs from the embedding, but config.json says "
      "tie_word_embeddings: set it to false to use the tensor, or leave the tensor out",
      folder.path().string());
}

}  // namespace

Model Model::random(const ModelConfig& config, uint64_t seed, at::ScalarType dtype,
                    at::Device device) {
  Model model(config, dtype, device);
  const at::NoGradGuard no_grad;
  for (const Parameter& p : model.parameters_) fill_random(p, seed);
  return model;
}

Model Model::load(const std::filesystem::path& dir, at::ScalarType dtype, at::Device device) {
  ModelConfig config = read_config(dir);
  const WeightFolder folder(dir);
  config.num_nextn_predict_layers = mtp_modules_in(folder, config);
  check_folder(folder, config);
  Model model(config, dtype, device);
  const at::NoGradGuard no_grad;
  for (const Parameter& p : model.parameters_) load_tensor(folder, p);
  check_tied_head(folder, model, model.embedding_);
  return model;
}

void check_weights(const WeightFolder& folder, ModelConfig config) {
  const std::string head = "score.weight";
  const bool judges = folder.contains(head);
  if (judges) config.tie_word_embeddings = true;  // as load_body: no lm_head is asked for
  config.num_nextn_predict_layers = judges ? 0 : mtp_modules_in(folder, config);
  check_folder(folder, config, judges ? head : "");
}

Model load_body(const std::filesystem::path& dir, const std::string& head, at::ScalarType dtype) {
  ModelConfig config = read_config(dir);
  config.tie_word_embeddings = true;  // no lm_head is made or asked for
  config.num_nextn_predict_layers = 0;
  const WeightFolder folder(dir);
  check_folder(folder, config, head);
  Model model(config, dtype, at::kCPU);
  const at::NoGradGuard no_grad;
  for (const Parameter& p : model.parameters()) load_tensor(folder, p);
  return model;
}

int64_t parameter_count(const Model& model, bool with_mtp) {
  int64_t count = 0;
  for (const Parameter& p : model.parameters()) {
    if (with_mtp || layer_of(p.name) < model.config().num_hidden_layers) count += p.tensor.numel();
  }
  return count;
}

int64_t active_parameter_count(const Model& model) {
  const MoeConfig& moe = model.config().moe;
  int64_t active = 0, routed = 0;
  for (const Parameter& p : model.parameters()) {
    if (layer_of(p.name) >= model.config().num_hidden_layers) continue;
    const bool expert = p.name.find(".mlp.experts.") != std::string::npos;
    (expert ? routed : active) += p.tensor.numel();
  }
  if (routed > 0) active += routed / moe.n_routed_experts * moe.num_experts_per_tok;
  return active;
}

}  // namespace ponder::policy
