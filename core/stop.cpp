#include "core/stop.h"

#include <csignal>

namespace ponder::core {
namespace {

volatile std::sig_atomic_t received = 0;

void on_stop(int signal) {
  received = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_stop_signals() {
  std::signal(SIGINT, on_stop);
  std::signal(SIGTERM, on_stop);
}

bool stop_requested() {
  return received != 0;
}

int stop_signal() {
  return received;
}

}  // namespace ponder::core
