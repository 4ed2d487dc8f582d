#include "distributed/gpu_choice.h"

#include <map>

#include "core/error.h"

namespace ponder::distributed {

int own_gpu(const Worker& worker, int visible) {
  if (worker.local_rank < visible) return worker.local_rank;
  if (visible == 1) return 0;
  core::throw_user(
      "rank {} is worker {} of its machine, counted from 0, but CUDA shows {} GPUs there: start at "
      "most {} workers a machine, or let CUDA_VISIBLE_DEVICES name more",
      worker.rank, worker.local_rank, visible, visible);
}

void check_distinct_gpus(const std::vector<std::string>& uuids) {
  std::map<std::string, size_t> owner;
  for (size_t rank = 0; rank < uuids.size(); ++rank) {
    const auto [entry, fresh] = owner.emplace(uuids[rank], rank);
    if (fresh) continue;
    core::throw_user(
        "ranks {} and {} have the same GPU ({}), but NCCL needs one a worker: start one worker a "
        "GPU (LOCAL_RANK chooses it), or give each its own by CUDA_VISIBLE_DEVICES",
        entry->second, rank, uuids[rank]);
  }
}

}  // namespace ponder::distributed
