#include "core/stop.h"

#include <csignal>

namespace ponder::core {
namespace {

volatile std::sig_atomic_t stop_flag = 0;

void on_stop(int signal) {
  stop_flag = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_stop_signals() {
  std::signal(SIGINT, on_stop);
  std::signal(SIGTERM, on_stop);
}

bool stop_requested() { return stop_flag != 0; }

}  // namespace ponder::core
