#include "distributed/group.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <ATen/ATen.h>
#include <c10/util/Logging.h>

#include "core/error.h"
#include "core/timer.h"
#include "distributed/board.h"

namespace ponder::distributed {
namespace {

using std::chrono::milliseconds;

// A store that should answer at once answers within this, or is gone.
constexpr milliseconds kStoreAnswer{3000};
constexpr milliseconds kLinger{2000};

milliseconds to_milliseconds(double seconds) {
  return milliseconds(static_cast<int64_t>(seconds * 1000));
}

c10::intrusive_ptr<c10d::Store> open_store(const Worker& worker, milliseconds timeout, bool serve) {
  c10d::TCPStoreOptions options;
  options.port = worker.master_port;
  options.isServer = serve;
  options.numWorkers = worker.world_size;
  options.waitWorkers = false;
  options.timeout = timeout;
  return c10::make_intrusive<c10d::TCPStore>(worker.master_addr, options);
}

// The network that Gloo's workers speak on: GLOO_SOCKET_IFNAME where the user names one, the
// loopback where rank 0 is there, else what the host's name resolves to.
std::shared_ptr<gloo::transport::Device> device_for(const Worker& worker) {
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr && *interface != '\0')
    return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  if (worker.master_addr == "127.0.0.1" || worker.master_addr == "localhost")
    return c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

// c10d logs each lost connection with its stack; our own error says it in a line.
void quiet_c10d() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr)
    FLAGS_caffe2_log_level = 3;  // ours say it without stacks
}

// Whoever holds the store ends last, so that the others can still read who is missing.
void linger(const Worker& worker) {
  if (worker.rank == 0 && !worker.launcher_holds_store) std::this_thread::sleep_for(kLinger);
}

std::string first_line(const char* text) {
  return std::string(text, std::strcspn(text, "\n"));
}

std::string board_key(int rank) {
  return fmt::format("doing/{}", rank);
}

std::vector<uint8_t> bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

// The board's own connection: a collective that waits for the store does not hold it up.
BoardStore board_store(const c10::intrusive_ptr<c10d::Store>& store, int holder) {
  return {
      .holder = holder,
      .write = [store](int rank,
                       const std::string& text) { store->set(board_key(rank), bytes_of(text)); },
      .read = [store](int rank) -> std::string {
        if (!store->check({board_key(rank)})) return "";
        const std::vector<uint8_t> bytes = store->get(board_key(rank));
        return {bytes.begin(), bytes.end()};
      }};
}

// How long at least one collective was under way: they end on Gloo's threads.
class UnderWay {
 public:
  void begin() {
    const std::lock_guard lock(mutex_);
    if (count_++ == 0) watch_ = core::Stopwatch();
  }
  void end() {
    const std::lock_guard lock(mutex_);
    if (--count_ == 0) seconds_ += watch_.seconds();
  }
  double seconds() const {
    const std::lock_guard lock(mutex_);
    return count_ == 0 ? seconds_ : seconds_ + watch_.seconds();
  }

 private:
  mutable std::mutex mutex_;
  int count_ = 0;
  double seconds_ = 0;
  core::Stopwatch watch_;
};

}  // namespace

struct Group::Impl {
  Worker worker;
  GroupOptions options;
  double seconds = 0;
  int64_t bytes_sent = 0;
  std::shared_ptr<UnderWay> under_way = std::make_shared<UnderWay>();
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Store> side;  // the board's own connection
  c10::intrusive_ptr<c10d::Backend> gloo;
  c10::intrusive_ptr<c10d::Backend> on_device;  // null: tensors are on the CPU alone
  std::unique_ptr<Board> board;                 // undefined for one worker

  bool failed = false;
  bool root_silent = false;  // and rank 0 can't tell

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  // Gloo's end waits for what is under way, each for its whole deadline, the board's for the store:
  // after a failure nothing may come, and the process ends anyway.
  ~Impl() {
    if (!failed) {
      end_device();
      return;
    }
    gloo.release();
    on_device.release();
    static_cast<void>(board.release());
  }

  // After the last word of whoever holds the store: the others, who find the connections closed,
  // can still read it. Gloo's end may wait for what is under way; the process does not.
  void hang_up() {
    if (worker.rank != 0 || worker.launcher_holds_store) return;
    std::thread([closing = std::move(gloo)]() mutable { closing.reset(); }).detach();
    linger(worker);
  }

  // NCCL wants to be told before its end. The work is done: what hinders it is a warning.
  void end_device() const {
    if (!on_device) return;
    try {
      on_device->shutdown();
    } catch (const std::exception& error) {
      fmt::print(stderr, "ponder: warning: the GPUs' group did not end well: {}\n",
                 first_line(error.what()));
    }
  }

  bool alone() const { return worker.world_size == 1; }

  c10d::Backend& backend_for(const at::Tensor& tensor) const {
    if (tensor.is_cpu()) return *gloo;
    PONDER_CHECK(on_device, "[group] a tensor on {} in a group without a backend for devices",
                 tensor.device().str());
    return *on_device;
  }

  [[noreturn]] void fail(std::string_view what, const std::exception& error) {
    failed = true;
    const auto [who, silent] = board->diagnose();
    root_silent = silent;
    linger(worker);
    core::throw_run(
        "rank {} of {}: {} failed after {:.0f} s at most: {}{}({}). The run goes on from its last "
        "checkpoint when the same command is given again",
        worker.rank, worker.world_size, what, options.timeout_s, who, who.empty() ? "" : " ",
        first_line(error.what()));
  }

  // `peer`: whom a send or receive waits for; -1: all workers.
  void wait(const c10::intrusive_ptr<c10d::Work>& work, std::string_view what, int peer) {
    const core::Stopwatch watch;
    if (peer < 0)
      board->enter_collective(std::string(what));
    else
      board->enter_exchange(std::string(what), peer);
    try {
      work->wait();
    } catch (const std::exception& error) {
      fail(what, error);
    }
    board->leave();
    seconds += watch.seconds();
  }

  // REQUIRES: the store's two connections are there.
  void connect() {
    board = std::make_unique<Board>(worker.rank, worker.world_size,
                                    board_store(side, worker.launcher_holds_store ? -1 : 0));
    auto how = c10d::ProcessGroupGloo::Options::create(to_milliseconds(options.timeout_s));
    how->devices.push_back(device_for(worker));
    gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(store, worker.rank, worker.world_size, how);
    if (!options.device_backend) return;
    const c10::intrusive_ptr<c10d::Store> own =
        c10::make_intrusive<c10d::PrefixStore>("device", store);
    options.device_backend(&own, worker.rank, worker.world_size,
                           to_milliseconds(options.timeout_s).count(), &on_device);
  }

  // Whether a work says itself when it has ended. Gloo's sends do not, and a device's future is
  // there as soon as the work is queued.
  enum class Ends { kItself, kWaitedFor };
  struct Started {
    c10::intrusive_ptr<c10d::Work> work;
    Ends ends;
  };

  template <typename Begin>
  Started begin(int64_t bytes, std::string_view what, Ends ends, const Begin& start) {
    bytes_sent += bytes;
    try {
      auto work = start();
      under_way->begin();
      if (ends == Ends::kItself)
        work->getFuture()->addCallback([clock = under_way](c10::ivalue::Future&) { clock->end(); });
      return {work, ends};
    } catch (const std::exception& error) {
      fail(what, error);
    }
  }

  void end(const Started& started, std::string_view what, int peer = -1) {
    wait(started.work, what, peer);
    if (started.ends == Ends::kWaitedFor) under_way->end();
  }

  static Ends ends_of(const at::Tensor& tensor) {
    return tensor.is_cpu() ? Ends::kItself : Ends::kWaitedFor;
  }
};

Group::Group(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;
Group::~Group() = default;

Group Group::alone() {
  return Group(std::make_unique<Impl>());
}

namespace {

// Who has not come to the meeting, from what the store holds.
std::string absent(const c10::intrusive_ptr<c10d::Store>& store, const Worker& worker) {
  std::string ranks;
  for (int r = 0; r < worker.world_size; ++r) {
    if (!store->check({board_key(r)})) ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", r);
  }
  return ranks;
}

void meet(const c10::intrusive_ptr<c10d::Store>& store, const Worker& worker,
          const GroupOptions& options) {
  store->set(board_key(worker.rank), bytes_of(to_text({.doing = "starting"})));
  const core::Stopwatch watch;
  while (true) {
    const std::string ranks = absent(store, worker);
    if (ranks.empty()) return;
    if (watch.seconds() > options.timeout_s) {
      linger(worker);
      core::throw_run(
          "rank {} of {}: rank {} did not come within {:.0f} s: look at what its own log says",
          worker.rank, worker.world_size, ranks, options.timeout_s);
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
}

}  // namespace

Group Group::join(const Worker& worker, const GroupOptions& options) {
  if (worker.world_size == 1) return alone();
  auto impl = std::make_unique<Impl>();
  impl->worker = worker;
  impl->options = options;
  const milliseconds timeout = to_milliseconds(options.timeout_s);
  quiet_c10d();
  try {
    // A job that is started anew must not read the words of the one before.
    const std::string prefix = fmt::format("ponder{}", worker.restart);
    const auto prefixed = [&](const c10::intrusive_ptr<c10d::Store>& store) {
      return c10::make_intrusive<c10d::PrefixStore>(prefix, store);
    };
    impl->store =
        prefixed(open_store(worker, timeout, worker.rank == 0 && !worker.launcher_holds_store));
    impl->side = prefixed(open_store(worker, timeout, false));
    meet(impl->side, worker, options);
    impl->side->setTimeout(kStoreAnswer);
    impl->connect();
  } catch (const core::RunError&) {
    throw;
  } catch (const std::exception& error) {
    core::throw_run("rank {} of {} ({}): the workers could not meet at {}:{}: {}", worker.rank,
                    worker.world_size, worker.launcher, worker.master_addr, worker.master_port,
                    first_line(error.what()));
  }
  return Group(std::move(impl));
}

int Group::rank() const {
  return impl_->worker.rank;
}

int Group::size() const {
  return impl_->worker.world_size;
}

Group Group::another(const std::string& name) const {
  if (impl_->alone()) return alone();
  auto impl = std::make_unique<Impl>();
  impl->worker = impl_->worker;
  impl->options = impl_->options;
  impl->store = c10::make_intrusive<c10d::PrefixStore>(name, impl_->store);
  impl->side = c10::make_intrusive<c10d::PrefixStore>(name, impl_->side);
  try {
    impl->connect();
  } catch (const std::exception& error) {
    core::throw_run("rank {} of {}: no second group ({}) of the workers: {}", rank(), size(), name,
                    first_line(error.what()));
  }
  return Group(std::move(impl));
}

void Group::doing(std::string_view what) {
  if (!impl_->alone()) impl_->board->doing(std::string(what));
}

bool Group::root_silent() const {
  return impl_->root_silent;
}

bool Group::failed() const {
  return impl_->failed;
}

void Group::give_up(std::string_view error) {
  if (impl_->alone() || impl_->failed) return;
  impl_->failed = true;
  impl_->board->give_up(std::string(error));
  impl_->hang_up();
}

void Group::all_reduce_sum(at::Tensor& tensor, std::string_view what) {
  all_reduce_sum_begin(tensor, std::string(what)).wait();
}

Pending Group::all_reduce_sum_begin(at::Tensor tensor, std::string what) {
  if (impl_->alone()) return Pending([] {});
  PONDER_CHECK(tensor.is_contiguous(), "[group] all_reduce of a tensor that is not contiguous");
  std::vector<at::Tensor> tensors = {tensor};
  auto started = impl_->begin(static_cast<int64_t>(tensor.nbytes()), what, Impl::ends_of(tensor),
                              [&] { return impl_->backend_for(tensor).allreduce(tensors); });
  return Pending(
      [impl = impl_.get(), started, what = std::move(what)] { impl->end(started, what); });
}

void Group::broadcast(at::Tensor& tensor, int root, std::string_view what) {
  if (impl_->alone()) return;
  PONDER_CHECK(tensor.is_contiguous(), "[group] broadcast of a tensor that is not contiguous");
  std::vector<at::Tensor> tensors = {tensor};
  c10d::BroadcastOptions options;
  options.rootRank = root;
  impl_->end(impl_->begin(static_cast<int64_t>(tensor.nbytes()), what, Impl::ends_of(tensor),
                          [&] { return impl_->backend_for(tensor).broadcast(tensors, options); }),
             what);
}

std::vector<std::string> Group::all_gather(std::string_view bytes, std::string_view what) {
  if (impl_->alone()) return {std::string(bytes)};
  const std::vector<int64_t> lengths = all_values(static_cast<int64_t>(bytes.size()), what);
  const int64_t longest = std::max<int64_t>(1, *std::max_element(lengths.begin(), lengths.end()));
  at::Tensor own = at::zeros({longest}, at::kByte);
  std::memcpy(own.data_ptr<uint8_t>(), bytes.data(), bytes.size());
  at::Tensor all = at::empty({size() * longest}, at::kByte);
  impl_->end(impl_->begin(longest, what, Impl::Ends::kItself,
                          [&] { return impl_->gloo->_allgather_base(all, own); }),
             what);
  std::vector<std::string> out;
  for (int r = 0; r < size(); ++r) {
    const auto* start = reinterpret_cast<const char*>(all.const_data_ptr<uint8_t>()) + r * longest;
    out.emplace_back(start, static_cast<size_t>(lengths[r]));
  }
  return out;
}

void Group::send(const at::Tensor& tensor, int to, std::string_view what) {
  PONDER_CHECK(tensor.is_contiguous(), "[group] send of a tensor that is not contiguous");
  std::vector<at::Tensor> tensors = {tensor};
  impl_->end(impl_->begin(static_cast<int64_t>(tensor.nbytes()), what, Impl::Ends::kWaitedFor,
                          [&] { return impl_->backend_for(tensor).send(tensors, to, 0); }),
             what, to);
}

void Group::receive(at::Tensor& tensor, int from, std::string_view what) {
  PONDER_CHECK(tensor.is_contiguous(), "[group] receive into a tensor that is not contiguous");
  std::vector<at::Tensor> tensors = {tensor};
  impl_->end(impl_->begin(0, what, Impl::Ends::kWaitedFor,
                          [&] { return impl_->backend_for(tensor).recv(tensors, from, 0); }),
             what, from);
}

std::vector<int64_t> Group::all_values(int64_t own, std::string_view what) {
  at::Tensor values = at::zeros({size()}, at::kLong);
  auto* row = values.data_ptr<int64_t>();
  row[rank()] = own;
  all_reduce_sum(values, what);
  return {row, row + size()};
}

void Group::barrier(std::string_view what) {
  if (impl_->alone()) return;
  impl_->end(impl_->begin(0, what, Impl::Ends::kItself, [&] { return impl_->gloo->barrier(); }),
             what);
}

Traffic Group::traffic() const {
  return {impl_->seconds, impl_->under_way->seconds(), impl_->bytes_sent};
}

}  // namespace ponder::distributed
