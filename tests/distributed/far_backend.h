// c10d's backend for the device of tests/support/far_device.h, as NCCL is for GPUs: Gloo on the
// memory behind it. Refuses tensors of the CPU.
#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <ATen/ATen.h>

#include "tests/support/far_device.h"

namespace ponder::test {

inline int far_collectives = 0;

class FarBackend : public c10d::Backend {
 public:
  FarBackend(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, int64_t timeout_ms)
      : Backend(rank, size) {
    auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::milliseconds(timeout_ms));
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
    gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
  }

  const std::string getBackendName() const override { return "far"; }

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options) override {
    auto near = behind(tensors);
    return gloo_->allreduce(near, options);
  }
  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override {
    auto near = behind(tensors);
    return gloo_->broadcast(near, options);
  }
  c10::intrusive_ptr<c10d::Work> send(std::vector<at::Tensor>& tensors, int to, int tag) override {
    auto near = behind(tensors);
    return gloo_->send(near, to, tag);
  }
  c10::intrusive_ptr<c10d::Work> recv(std::vector<at::Tensor>& tensors, int from,
                                      int tag) override {
    auto near = behind(tensors);
    return gloo_->recv(near, from, tag);
  }

 private:
  static std::vector<at::Tensor> behind(const std::vector<at::Tensor>& tensors) {
    ++far_collectives;
    std::vector<at::Tensor> out;
    for (const at::Tensor& x : tensors) {
      TORCH_CHECK(x.device() == kFar, "far backend: a tensor on ", x.device().str());
      out.push_back(at::from_blob(near_pointer(x.data_ptr()), x.sizes(), x.scalar_type()));
    }
    return out;
  }

  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
};

// For GroupOptions::device_backend.
inline void make_far_backend(const void* store, int rank, int size, int64_t timeout_ms,
                             void* backend) {
  *static_cast<c10::intrusive_ptr<c10d::Backend>*>(backend) = c10::make_intrusive<FarBackend>(
      *static_cast<const c10::intrusive_ptr<c10d::Store>*>(store), rank, size, timeout_ms);
}

}  // namespace ponder::test
