#include "sandbox/sandbox.h"

#include <algorithm>
#include <condition_variable>
#include <thread>

#include "core/error.h"
#include "core/spelling.h"
#include "sandbox/host.h"

namespace ponder::sandbox {

namespace {

void require_guarantees(const Options& options) {
  std::vector<std::string> names = {kIsolation}, missing;
  for (const auto& guarantee : probe_guarantees(options)) {
    names.push_back(guarantee.name);
    const auto& allowed = options.allow_weaker;
    if (guarantee.state != Guarantee::State::kMissing) continue;
    const bool dispensable = guarantee.name != kIsolation;
    if (dispensable && std::find(allowed.begin(), allowed.end(), guarantee.name) != allowed.end())
      continue;
    missing.push_back(
        fmt::format("[sandbox] this machine does not give '{}' ({}): {}; {}", guarantee.name,
                    guarantee.what, guarantee.detail,
                    dispensable ? fmt::format("--allow-weaker {} runs without it", guarantee.name)
                                : "nothing is run without it"));
  }
  for (const auto& name : options.allow_weaker)
    if (std::find(names.begin(), names.end(), name) == names.end())
      missing.push_back(fmt::format("[sandbox] --allow-weaker: unknown guarantee '{}'{}", name,
                                    core::suggestion(name, names)));
  if (missing.empty()) return;
  std::string message;
  for (const auto& line : missing) message += (message.empty() ? "" : "\n") + line;
  throw core::UserError(message);
}

}  // namespace

struct Sandbox::Impl {
  explicit Impl(Options options) : host(std::move(options)) {
    int count = host.options.slots;
    if (count <= 0) count = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    for (int i = 0; i < count; ++i) {
      slots.push_back(std::make_unique<Slot>());
      slots.back()->number = i;
      free.push_back(slots.back().get());
    }
  }

  Slot& acquire() {
    std::unique_lock lock(mutex);
    available.wait(lock, [&] { return !free.empty(); });
    // The one used last: its boxes exist and are in the caches.
    Slot& slot = *free.back();
    free.pop_back();
    return slot;
  }

  void release(Slot& slot) {
    {
      const std::lock_guard lock(mutex);
      free.push_back(&slot);
    }
    available.notify_one();
  }

  Host host;
  std::mutex mutex;
  std::condition_variable available;
  std::vector<std::unique_ptr<Slot>> slots;
  std::vector<Slot*> free;
};

struct Sandbox::Lease {
  explicit Lease(Impl& pool) : impl(pool), slot(pool.acquire()) {}
  ~Lease() { impl.release(slot); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Impl& impl;
  Slot& slot;
};

Sandbox::Sandbox(Options options) {
  require_guarantees(options);
  impl_ = std::make_unique<Impl>(std::move(options));
}

Sandbox::~Sandbox() = default;

void Sandbox::check_language(const std::string& language) {
  const Lease lease(*impl_);
  ponder::sandbox::check_language(impl_->host, lease.slot, impl_->host.language(language));
}

Result Sandbox::run(const Request& request) {
  const Lease lease(*impl_);
  return request.function ? run_function(impl_->host, lease.slot, request)
                          : run_program(impl_->host, lease.slot, request);
}

}  // namespace ponder::sandbox
