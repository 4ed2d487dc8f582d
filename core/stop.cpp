#include "core/stop.h"

#include <atomic>
#include <csignal>
#include <ctime>

namespace ponder::core {
namespace {

// Written in a signal handler, whichever thread it runs in, and read by all.
std::atomic<int> received = 0;
std::atomic<double> received_at = 0;
static_assert(decltype(received)::is_always_lock_free &&
              decltype(received_at)::is_always_lock_free);

double now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);  // may be called in a signal handler
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void on_stop(int signal) {
  if (received == 0) {
    received_at = now();
    received = signal;
  } else if (now() - received_at > 1) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

void catch_stop_signals() {
  std::signal(SIGINT, on_stop);
  std::signal(SIGTERM, on_stop);
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGINT);
  sigaddset(&stops, SIGTERM);
  ::pthread_sigmask(SIG_UNBLOCK, &stops, nullptr);
}

bool stop_requested() {
  return received != 0;
}

int stop_signal() {
  return received;
}

}  // namespace ponder::core
