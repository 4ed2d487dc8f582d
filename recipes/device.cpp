#include "recipes/device.h"

#include "distributed/gpu_choice.h"
#include "policy/cuda/open_plugin.h"
#include "policy/device/kernels.h"

namespace ponder::recipes {

at::Device device_of(DeviceKind kind) {
  return kind == DeviceKind::kCuda ? at::kCUDA : at::kCPU;
}

OpenDevice open_device(DeviceKind kind, const distributed::Worker& worker) {
  if (kind == DeviceKind::kCpu) return {};
  const policy::CudaPlugin& plugin = policy::open_cuda_plugin();
  const int index = distributed::own_gpu(worker, plugin.device_count());
  plugin.set_device(index);
  policy::device::install_kernels(at::kCUDA, &plugin);
  char uuid[33] = {};
  plugin.device_uuid(index, uuid);
  return {.backend = plugin.make_nccl, .uuid = uuid};
}

void check_own_gpus(distributed::Group& group, const OpenDevice& device) {
  if (group.size() == 1 || device.backend == nullptr) return;
  distributed::check_distinct_gpus(group.all_gather(device.uuid, "the GPUs"));
}

void check_device(DeviceKind kind, int workers) {
  if (kind == DeviceKind::kCpu) return;
  const int visible = policy::open_cuda_plugin().device_count();
  static_cast<void>(
      distributed::own_gpu({.rank = workers - 1, .local_rank = workers - 1}, visible));
  if (visible < workers)  // one GPU serves one worker, whatever a launcher might have hidden
    distributed::check_distinct_gpus(std::vector<std::string>(workers, "GPU 0"));
}

}  // namespace ponder::recipes
