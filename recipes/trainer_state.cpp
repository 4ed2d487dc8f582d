#include "recipes/trainer_state.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/safetensors.h"

namespace ponder::recipes {
namespace {

policy::NamedTensors all_tensors(const policy::Model& model, const policy::AdamW& optimizer) {
  policy::NamedTensors out;
  for (const policy::Parameter& p : model.parameters())
    out.emplace_back("weight." + p.name, p.tensor.detach());
  for (auto& [name, tensor] : optimizer.state()) out.emplace_back(name, tensor);
  return out;
}

}  // namespace

void save_trainer_state(const std::filesystem::path& checkpoint, const policy::Model& model,
                        const policy::AdamW& optimizer, const nlohmann::json& counters) {
  policy::save_safetensors(checkpoint / "trainer.safetensors", all_tensors(model, optimizer), {});
  core::write_file_atomic(checkpoint / "trainer.json", counters.dump(2) + "\n");
}

nlohmann::json restore_trainer_state(const std::filesystem::path& checkpoint,
                                     const policy::Model& model, const policy::AdamW& optimizer) {
  const at::NoGradGuard no_grad;
  const policy::SafetensorsFile file(checkpoint / "trainer.safetensors");
  for (auto& [name, tensor] : all_tensors(model, optimizer)) {
    const at::Tensor saved = file.tensor(name);
    if (saved.sizes() != tensor.sizes()) {
      core::throw_user(
          "{}: tensor '{}' has another shape than this recipe's model: the checkpoint is of "
          "another model",
          file.path().string(), name);
    }
    tensor.copy_(saved);
  }
  const auto path = checkpoint / "trainer.json";
  try {
    return nlohmann::json::parse(core::read_file(path, "trainer's state"));
  } catch (const nlohmann::json::exception& error) {
    core::throw_user("{}: broken JSON: {}", path.string(), error.what());
  }
}

}  // namespace ponder::recipes
