// Where a run's policy lives: on the CPU, or on this worker's own GPU.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "distributed/group.h"
#include "distributed/launch.h"

namespace ponder::recipes {

// The key training.device.
enum class DeviceKind { kCpu, kCuda };

// Models are made on this: with kCuda the GPU that open_device() has made the thread's.
at::Device device_of(DeviceKind kind);

struct OpenDevice {
  distributed::MakeBackend backend = nullptr;  // for Group::join; null on the CPU
  std::string uuid;                            // of the GPU
};

// kCuda: opens the plugin and takes this worker's GPU (distributed/gpu_choice.h). Throws UserError
// where the plugin cannot be opened or there is no GPU for the worker, naming what is missing.
OpenDevice open_device(DeviceKind kind, const distributed::Worker& worker);

// Throws UserError on all workers where two have the same GPU.
void check_own_gpus(distributed::Group& group, const OpenDevice& device);

// The same for `workers` that are yet to be started on this machine: says what open_device() would
// say in each.
void check_device(DeviceKind kind, int workers);

}  // namespace ponder::recipes
