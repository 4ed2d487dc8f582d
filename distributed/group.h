// A run's workers as one group: collectives of c10d (Gloo on the CPU, NCCL on GPUs) that end by a
// deadline with an error that names the missing rank and what it was doing. Knows tensors and
// bytes; knows no model and no step. One worker needs no group: Group::alone() answers every call
// at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "distributed/launch.h"

namespace ponder::distributed {

// Makes c10d's process group for tensors on a device, NCCL's on GPUs: `store` points to a
// c10::intrusive_ptr<c10d::Store>, `backend` to the c10::intrusive_ptr<c10d::Backend> that it sets.
// Handed in, because its code is in a plugin that is opened where a GPU is asked for.
using MakeBackend =
    std::function<void(const void* store, int rank, int size, int64_t timeout_ms, void* backend)>;

struct GroupOptions {
  double timeout_s = 1800;  // of one collective, waiting for the slowest worker included
  // For tensors on a device; those on the CPU, and all that is said in bytes, go through Gloo.
  MakeBackend device_backend = nullptr;
};

// What communication has cost this worker so far.
struct Traffic {
  double seconds = 0;  // spent waiting in collectives; work hidden behind compute is not in it
  double under_way_seconds = 0;  // with at least one collective begun and not ended
  int64_t bytes = 0;             // handed to collectives
};

// A collective under way; wait() ends it. Throws as Group's operations do.
class Pending {
 public:
  explicit Pending(std::function<void()> wait) : wait_(std::move(wait)) {}
  void wait() { wait_(); }

 private:
  std::function<void()> wait_;
};

// All workers call the same operations in the same order. Each throws RunError within its deadline
// when a worker is dead, cut off, paused or late: the message names the rank, when it was last
// heard of and what it was doing. `what` names the operation in that message ("gradients of step
// 12").
class Group {
 public:
  static Group alone();

  // Meets the other workers at worker.master_addr. Throws RunError when they do not all come within
  // the deadline, naming who is missing.
  static Group join(const Worker& worker, const GroupOptions& options);

  Group(Group&&) noexcept;
  Group& operator=(Group&&) noexcept;
  ~Group();

  int rank() const;
  int size() const;

  // The same workers once more, for collectives that another thread orders by itself: the order of
  // calls holds within one group only. All workers call it alike; `name` tells groups apart. The
  // result may outlive this group, but not be used after it where rank 0 holds the store.
  Group another(const std::string& name) const;

  // Says what this worker does from now on, for the other workers' error messages.
  void doing(std::string_view what);

  // Whether an operation has failed because rank 0 is missing or late: nobody else may be there to
  // say so where the user looks.
  bool root_silent() const;
  // Whether an operation has failed: the error tells of others, not of this worker.
  bool failed() const;

  // Tells the others why this worker ends without them; their error messages repeat it. No
  // operation may follow.
  void give_up(std::string_view error);

  // Sum over the workers, in place on each. Contiguous; floating point or int64.
  void all_reduce_sum(at::Tensor& tensor, std::string_view what);
  // The same, begun; the tensor may not be touched before wait().
  Pending all_reduce_sum_begin(at::Tensor tensor, std::string what);

  // Rank `root`'s values in every worker's tensor. Contiguous, of one shape and dtype everywhere.
  void broadcast(at::Tensor& tensor, int root, std::string_view what);

  // Every worker's bytes, by rank; lengths may differ.
  std::vector<std::string> all_gather(std::string_view bytes, std::string_view what);

  // A tensor from one worker to another; contiguous, of one shape and dtype on both.
  void send(const at::Tensor& tensor, int to, std::string_view what);
  void receive(at::Tensor& tensor, int from, std::string_view what);

  // Every worker's value, by rank.
  std::vector<int64_t> all_values(int64_t own, std::string_view what);

  void barrier(std::string_view what);

  Traffic traffic() const;

 private:
  struct Impl;
  explicit Group(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::distributed
