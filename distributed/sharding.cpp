#include "distributed/sharding.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include <ATen/ATen.h>

namespace ponder::distributed {
namespace {

// Consecutive tensors of one owner, as bytes.
struct Part {
  int owner = 0;
  std::vector<size_t> members;
  int64_t bytes = 0;
};

// `bytes` of each tensor. Parts of all owners, the same on every worker.
std::vector<Part> make_parts(const std::vector<int64_t>& bytes, const std::vector<int>& owners,
                             int workers, int64_t part_bytes) {
  std::vector<Part> parts;
  for (int owner = 0; owner < workers; ++owner) {
    bool fresh = true;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (owners[i] != owner) continue;
      if (fresh || parts.back().bytes + bytes[i] > part_bytes)
        parts.push_back({.owner = owner, .members = {}});
      fresh = false;
      parts.back().members.push_back(i);
      parts.back().bytes += bytes[i];
    }
  }
  return parts;
}

at::Tensor as_bytes(const at::Tensor& tensor) {
  return tensor.view({-1}).view(at::kByte);
}

at::Tensor pack(const Part& part, const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> bytes;
  for (const size_t i : part.members) bytes.push_back(as_bytes(tensors[i]));
  return at::cat(bytes);
}

at::Tensor room_for(const Part& part, at::Device device) {
  return at::empty({part.bytes}, at::TensorOptions(at::kByte).device(device));
}

void unpack(const Part& part, const at::Tensor& flat, const std::vector<at::Tensor>& tensors) {
  int64_t offset = 0;
  for (const size_t i : part.members) {
    const at::Tensor bytes = as_bytes(tensors[i]);
    bytes.copy_(flat.narrow(0, offset, bytes.numel()));
    offset += bytes.numel();
  }
}

std::vector<int64_t> sizes_of(const std::vector<at::Tensor>& tensors) {
  std::vector<int64_t> out;
  for (const at::Tensor& tensor : tensors) out.push_back(static_cast<int64_t>(tensor.nbytes()));
  return out;
}

}  // namespace

std::vector<int> balanced_owners(const std::vector<int64_t>& sizes, int workers) {
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<int64_t> load(static_cast<size_t>(workers));
  std::vector<int> owners(sizes.size());
  for (const size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owners[i] = static_cast<int>(least - load.begin());
    *least += sizes[i];
  }
  return owners;
}

void broadcast_from_owners(Group& group, const std::vector<at::Tensor>& tensors,
                           const std::vector<int>& owners, int64_t part_bytes) {
  const at::NoGradGuard no_grad;
  for (const Part& part : make_parts(sizes_of(tensors), owners, group.size(), part_bytes)) {
    const bool own = part.owner == group.rank();
    at::Tensor flat =
        own ? pack(part, tensors) : room_for(part, tensors[part.members.front()].device());
    group.broadcast(flat, part.owner, "the updated weights");
    if (!own) unpack(part, flat, tensors);
  }
}

void gather_from_owners(Group& group, const std::vector<at::Tensor>& tensors,
                        const std::vector<int>& owners, int64_t part_bytes) {
  const at::NoGradGuard no_grad;
  // An owner's parts follow from its own tensors, so that it and rank 0 make the same ones.
  for (const Part& part : make_parts(sizes_of(tensors), owners, group.size(), part_bytes)) {
    if (part.owner == 0) continue;
    if (group.rank() == part.owner)
      group.send(pack(part, tensors).cpu(), 0, "the optimizer's state");
    if (group.rank() != 0) continue;
    at::Tensor flat = room_for(part, at::kCPU);
    group.receive(flat, part.owner, "the optimizer's state");
    unpack(part, flat, tensors);
  }
}

}  // namespace ponder::distributed
