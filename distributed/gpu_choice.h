// Which of a machine's GPUs a worker takes: one each. Decided on numbers and names; knows no CUDA.
#pragma once

#include <string>
#include <vector>

#include "distributed/launch.h"

namespace ponder::distributed {

// The index of the worker's GPU among the `visible` ones: its local rank. A launcher that lets each
// worker see one alone (srun --gpus-per-task=1) means that one. Throws UserError where the machine
// has more workers than GPUs.
int own_gpu(const Worker& worker, int visible);

// Throws UserError naming the ranks where two workers have the same GPU, which NCCL cannot serve.
// `uuids`: each worker's, by rank.
void check_distinct_gpus(const std::vector<std::string>& uuids);

}  // namespace ponder::distributed
