// Threads that run one pass together: each stage is divided among them, and all wait for each other
// where one stage reads what another thread wrote.
#pragma once

#include <algorithm>
#include <cstdint>

#include <omp.h>

namespace ponder::policy::decode {

struct Span {
  int64_t begin;
  int64_t end;
};

struct Team {
  int64_t thread;
  int64_t size;

  // This thread's share of `count` items, in multiples of `grain` (but for the last).
  Span share(int64_t count, int64_t grain) const {
    const int64_t grains = (count + grain - 1) / grain;
    return {std::min(count, grains * thread / size * grain),
            std::min(count, grains * (thread + 1) / size * grain)};
  }
  // One thread alone does not wait: OpenMP's barrier would ask the system each time whom to wake.
  static void wait() {
    if (omp_get_num_threads() == 1) return;
#pragma omp barrier
  }
};

// Runs body(team) on `threads` threads.
template <typename Body>
void run_team(int threads, const Body& body) {
#pragma omp parallel num_threads(threads)
  body(Team{omp_get_thread_num(), omp_get_num_threads()});
}

}  // namespace ponder::policy::decode
