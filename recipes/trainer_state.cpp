#include "recipes/trainer_state.h"

#include <fstream>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/crc32c.h"
#include "core/error.h"
#include "recipes/checkpoint_json.h"

namespace ponder::recipes {
namespace {

namespace fs = std::filesystem;

// Part by part: a map of the whole file would count as this process's memory.
uint32_t checksum(const fs::path& path) {
  constexpr size_t kPartBytes = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  if (!file) core::throw_user("cannot read the checkpoint {}", path.string());
  std::string part(kPartBytes, ' ');
  uint32_t crc = 0;
  while (file.read(part.data(), kPartBytes), file.gcount() > 0)
    crc = core::crc32c({part.data(), static_cast<size_t>(file.gcount())}, crc);
  if (file.bad()) core::throw_run("cannot read the checkpoint {}", path.string());
  return crc;
}

void check_tensors_file(const fs::path& path, const data::Json& state) {
  const auto expected = state.at("trainer_safetensors_crc32c").get<uint32_t>();
  const uint32_t found = checksum(path);
  if (found == expected) return;
  throw_damaged(path, fmt::format("its checksum is {:08x}, expected {:08x}", found, expected));
}

void warn_of_threads(int threads) {
  if (threads == at::get_num_threads()) return;
  fmt::print(stderr,
             "ponder: warning: the run was made with {} threads and goes on with {}: its last "
             "bits will differ (OMP_NUM_THREADS={} keeps them)\n",
             threads, at::get_num_threads(), threads);
}

void warn_of_workers(int workers, int now) {
  if (workers == now) return;
  fmt::print(stderr,
             "ponder: warning: the run was made by {} workers and goes on with {}: its last bits "
             "will differ\n",
             workers, now);
}

}  // namespace

policy::NamedTensors trained_tensors(const policy::Model& model,
                                     const policy::NamedTensors& optimizer_state) {
  policy::NamedTensors out;
  for (const policy::Parameter& p : model.parameters()) {
    if (model.adapters().empty()) out.emplace_back("weight." + p.name, p.tensor.detach());
  }
  for (const auto& adapter : model.adapters()) {
    out.emplace_back("weight." + adapter->name + ".lora_A.weight", adapter->a.detach());
    out.emplace_back("weight." + adapter->name + ".lora_B.weight", adapter->b.detach());
  }
  out.insert(out.end(), optimizer_state.begin(), optimizer_state.end());
  return out;
}

void save_trainer_state(const fs::path& checkpoint, const policy::NamedTensors& tensors,
                        const data::Json& values, int workers) {
  const fs::path path = checkpoint / "trainer.safetensors";
  policy::save_safetensors(path, tensors, {});
  write_checkpoint_json(checkpoint / "trainer.json",
                        {{"values", values},
                         {"threads", at::get_num_threads()},
                         {"workers", workers},
                         {"trainer_safetensors_crc32c", checksum(path)}});
}

void restore_trainer_state(const fs::path& checkpoint, const policy::NamedTensors& tensors,
                           int workers, const std::function<void(const data::Json&)>& read) {
  const at::NoGradGuard no_grad;
  const fs::path path = checkpoint / "trainer.json";
  try {
    const data::Json state = read_checkpoint_json(path);
    const policy::SafetensorsFile file(checkpoint / "trainer.safetensors");
    check_tensors_file(file.path(), state);
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor saved = file.tensor(name);
      if (saved.sizes() != tensor.sizes()) {
        core::throw_user(
            "{}: tensor '{}' has another shape than this recipe's model: the checkpoint is of "
            "another model",
            file.path().string(), name);
      }
      tensor.copy_(saved);
    }
    read(state.at("values"));
    warn_of_threads(state.at("threads").get<int>());
    warn_of_workers(state.value("workers", 1), workers);
  } catch (const data::Json::exception& error) {
    throw_damaged(path, error);
  }
}

}  // namespace ponder::recipes
