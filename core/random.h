// Random numbers as pure functions of what they are for. No generator state, no global seed: the
// same arguments give the same bits in any order, on any worker, before and after a resume
// (DESIGN's promise "same seed, same run").
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ponder::core {

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011).
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// FNV-1a, 64 bit: a stable hash for prompt ids and held-out splits (never for security).
uint64_t stable_hash(std::string_view bytes);

// Uniform in [0, 1) with 53 bits: the number for position `position` of sample `sample` of the
// stream `stream`.
double uniform_at(uint64_t seed, uint64_t stream, uint32_t sample, uint32_t position);

// A sequence of random numbers for the stream (seed, stream): for code that draws an unknown number
// of them, such as the maker of one synthetic problem. Copyable; a copy goes on on its own.
class Rng {
 public:
  Rng(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  // Uniform in [0, 1).
  double uniform();
  // Uniform in [low, high], both ends included. REQUIRES: low <= high.
  int64_t integer(int64_t low, int64_t high);
  // True with probability `p`.
  bool chance(double p) { return uniform() < p; }
  // Standard normal (Box-Muller, both of the pair used).
  double normal();

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t drawn_ = 0;
  bool has_spare_ = false;
  double spare_ = 0;
};

}  // namespace ponder::core
