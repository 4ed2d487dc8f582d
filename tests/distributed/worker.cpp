// One worker of a test's group: `worker MODE [TIMEOUT_S [RANK_THAT_FAILS]]`, its place in the
// environment.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

#include "core/error.h"
#include "distributed/group.h"
#include "distributed/reducer.h"
#include "distributed/sharding.h"
#include "distributed/spawn.h"
#include "tests/distributed/far_backend.h"

namespace ponder::distributed {
namespace {

void sleep_s(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

void expect(bool ok, const char* what) {
  if (!ok) core::throw_user("wrong: {}", what);
}

void collectives(Group& group, at::Device device) {
  const double sum = group.size() * (group.size() + 1) / 2.0;
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
    const auto options = at::TensorOptions(type).device(device);
    at::Tensor x = at::full({1000}, group.rank() + 1, options);
    group.all_reduce_sum(x, "a sum");
    expect(x.eq(sum).all().item<bool>(), "all_reduce_sum");
    at::Tensor y = at::full({7}, group.rank(), options);
    group.broadcast(y, group.size() - 1, "a broadcast");
    expect(y.eq(group.size() - 1).all().item<bool>(), "broadcast");
  }
  const std::string own(static_cast<size_t>(group.rank()) * 3, static_cast<char>(group.rank()));
  const auto all = group.all_gather(own, "texts");
  for (int r = 0; r < group.size(); ++r)
    expect(all[r] == std::string(static_cast<size_t>(r) * 3, static_cast<char>(r)), "all_gather");
  const std::vector<int64_t> values = group.all_values(group.rank() * 7, "values");
  for (int r = 0; r < group.size(); ++r) expect(values[r] == r * 7, "all_values");
  if (group.size() > 1) {
    at::Tensor x = at::full({5}, group.rank(), at::TensorOptions(at::kInt).device(device));
    if (group.rank() == 1) group.send(x, 0, "a tensor");
    if (group.rank() == 0) group.receive(x, 1, "a tensor");
    expect(group.rank() != 0 || x.eq(1).all().item<bool>(), "send and receive");
  }
  Group other = group.another("second");
  std::thread thread([&] {
    at::Tensor x = at::full({1000}, 1);
    for (int i = 0; i < 20; ++i) other.all_reduce_sum(x, "the second group's sum");
  });
  at::Tensor x = at::full({1000}, 1);
  for (int i = 0; i < 20; ++i) group.all_reduce_sum(x, "a sum beside it");
  thread.join();
  group.barrier("the end");
  expect(group.size() == 1 || group.traffic().under_way_seconds > 0, "time under way");
  expect(group.size() == 1 || group.traffic().bytes > 0, "traffic");
}

void sharding(Group& group, at::Device device) {
  const std::vector<at::ScalarType> types = {at::kFloat, at::kBFloat16, at::kShort, at::kLong};
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < 11; ++i) sizes.push_back((i * 37) % 19 + 1);
  const std::vector<int> owners = balanced_owners(sizes, group.size());
  std::vector<at::Tensor> all, own;
  std::vector<int> own_owners;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const bool mine = owners[i] == group.rank();
    all.push_back(at::full({sizes[i]}, mine ? static_cast<int64_t>(i) : -1,
                           at::TensorOptions(types[i % 4]).device(device)));
    if (!mine && group.rank() != 0) continue;
    // Rank 0 has room for the others' on the CPU.
    own.push_back(mine ? all.back().clone() : at::full({sizes[i]}, -1, types[i % 4]));
    own_owners.push_back(owners[i]);
  }
  broadcast_from_owners(group, all, owners, 40);
  gather_from_owners(group, own, own_owners, 40);
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto value = static_cast<int64_t>(i);
    expect(all[i].eq(value).all().item<bool>(), "broadcast_from_owners");
    expect(group.rank() != 0 || own[i].eq(value).all().item<bool>(), "gather_from_owners");
  }
}

// A small network whose loss is a sum over rows: each worker has some of the rows.
struct Net {
  at::Tensor w1, w2, unused;
  std::vector<at::Tensor> parameters() const { return {w1, w2, unused}; }
};

Net make_net(at::Device device) {
  const auto grid = [&](int64_t n, int64_t m) {
    return (at::arange(n * m, at::kDouble).sin() * 0.3).view({n, m}).to(device).requires_grad_();
  };
  return {grid(16, 8), grid(8, 4), grid(3, 3)};
}

at::Tensor loss_of(const Net& net, const at::Tensor& rows) {
  return at::matmul(at::tanh(at::matmul(rows, net.w1)), net.w2).square().sum();
}

void gradients(Group& group, at::Device device) {
  const at::Tensor rows = (at::arange(24 * 16, at::kDouble) * 0.7).cos().view({24, 16}).to(device);
  const Net whole = make_net(device);
  loss_of(whole, rows).backward();

  const Net net = make_net(device);
  // Buckets of 600 bytes: several a backward pass, one parameter larger than one.
  const auto take = [&](size_t i) {
    return std::exchange(net.parameters()[i].mutable_grad(), at::Tensor());
  };
  GradientReducer reducer(group, net.parameters(), take, 600);
  for (int round = 0; round < 2; ++round) {
    // Uneven shares; the last worker of four has no rows at all and never calls backward.
    const int64_t begin = std::min<int64_t>(24, group.rank() * 9);
    const int64_t end = group.rank() + 1 == group.size() ? 24 : std::min<int64_t>(24, begin + 9);
    if (begin < end) {
      const int64_t middle = (begin + end) / 2;
      if (begin < middle) loss_of(net, rows.slice(0, begin, middle)).backward();
      reducer.arm();
      loss_of(net, rows.slice(0, middle, end)).backward();
    }
    const std::vector<at::Tensor> sums = reducer.finish();
    expect(at::allclose(sums[0], whole.w1.grad(), 1e-12, 1e-12), "gradient of w1");
    expect(at::allclose(sums[1], whole.w2.grad(), 1e-12, 1e-12), "gradient of w2");
    expect(sums[2].eq(0).all().item<bool>(), "unused is zero");
  }
}

// Everything of the three above on a device, whose tensors go through its own backend, and those of
// the CPU through Gloo.
void on_device(Group& group) {
  collectives(group, test::kFar);
  expect(group.size() == 1 || test::far_collectives > 0, "the device's own backend");
  sharding(group, test::kFar);
  gradients(group, test::kFar);
  const int before = test::far_collectives;
  at::Tensor x = at::ones({3});
  group.all_reduce_sum(x, "a sum on the CPU");
  group.barrier("a barrier");
  expect(test::far_collectives == before, "the CPU's own backend");
}

// Rank 0 gets three parts of each of the others', as when a checkpoint is saved.
void exchange(Group& group) {
  at::Tensor x = at::ones({64});
  for (int rank = 1; rank < group.size(); ++rank) {
    for (int part = 0; part < 3; ++part) {
      if (group.rank() == rank) group.send(x, 0, "the optimizer's state");
      if (group.rank() == 0) group.receive(x, rank, "the optimizer's state");
    }
  }
}

// `failing` fails in the fourth step.
void faults(const std::string& mode, Group& group, int failing) {
  for (int step = 0;; ++step) {
    group.doing("sampling");
    at::Tensor x = at::ones({1 << 16});
    if (step == 2) exchange(group);
    if (step == 3 && group.rank() == failing) {
      if (mode == "die") std::raise(SIGKILL);
      if (mode == "pause") std::raise(SIGSTOP);
      if (mode.starts_with("late")) sleep_s(60);
      if (mode == "give-up") core::throw_run("the disk is full");
    }
    if (step == 3 && mode.ends_with("-exchange")) exchange(group);
    group.all_reduce_sum(x, fmt::format("gradients of step {}", step));
  }
}

int run(const std::string& mode, double timeout_s, int failing) {
  const Worker worker = worker_from_environment();
  GroupOptions options{.timeout_s = timeout_s};
  if (mode == "device") options.device_backend = test::make_far_backend;
  Group group = Group::join(worker, options);
  try {
    if (mode == "collectives") {
      collectives(group, at::kCPU);
    } else if (mode == "sharding") {
      sharding(group, at::kCPU);
    } else if (mode == "gradients") {
      gradients(group, at::kCPU);
    } else if (mode == "device") {
      on_device(group);
    } else if (mode == "no-backend") {
      at::Tensor x = at::ones({3}).to(test::kFar);
      group.all_reduce_sum(x, "a sum");
    } else if (mode == "fail-after") {
      if (worker.rank == 1) return 7;
      sleep_s(60);
    } else if (mode != "join") {
      faults(mode, group, failing);
    }
  } catch (const std::exception& error) {
    group.give_up(error.what());
    throw;
  }
  return 0;
}

}  // namespace
}  // namespace ponder::distributed

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  try {
    if (mode == "spawn")
      return ponder::distributed::run_workers({argv[0], argv[2]}, std::stoi(argv[3]),
                                              {.grace_s = 2});
    return ponder::distributed::run(mode, argc > 2 ? std::stod(argv[2]) : 30,
                                    argc > 3 ? std::stoi(argv[3]) : 1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
