#include "recipes/trainer_state.h"

#include <nlohmann/json.hpp>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

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
                        const policy::AdamW& optimizer, const Counters& counters) {
  policy::save_safetensors(checkpoint / "trainer.safetensors", all_tensors(model, optimizer), {});
  const nlohmann::json state = {{"counters", counters}, {"threads", at::get_num_threads()}};
  core::write_file_atomic(checkpoint / "trainer.json", state.dump(2) + "\n");
}

void restore_trainer_state(const std::filesystem::path& checkpoint, const policy::Model& model,
                           const policy::AdamW& optimizer, Counters& counters) {
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
    const auto state = nlohmann::json::parse(core::read_file(path, "trainer's state"));
    for (auto& [name, value] : counters) value = state.at("counters").at(name).get<int64_t>();
    const int threads = state.at("threads").get<int>();
    if (threads == at::get_num_threads()) return;
    fmt::print(stderr,
               "ponder: warning: the run was made with {} threads and goes on with {}: its last "
               "bits will differ (OMP_NUM_THREADS={} keeps them)\n",
               threads, at::get_num_threads(), threads);
  } catch (const nlohmann::json::exception& error) {
    core::throw_user("{}: damaged ({}): remove this checkpoint to go on from the one before",
                     path.string(), error.what());
  }
}

}  // namespace ponder::recipes
