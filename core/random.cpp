#include "core/random.h"

#include <cmath>
#include <numbers>

namespace ponder::core {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

uint64_t stable_hash(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

double uniform_at(uint64_t seed, uint64_t stream, uint32_t sample, uint32_t position) {
  const auto bits = philox4x32(
      {static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32), sample, position},
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t mantissa = (static_cast<uint64_t>(bits[0]) << 21) ^ (bits[1] >> 11);
  return static_cast<double>(mantissa & ((1ULL << 53) - 1)) * 0x1.0p-53;
}

double Rng::uniform() {
  const double value = uniform_at(seed_, stream_, static_cast<uint32_t>(drawn_ >> 32),
                                  static_cast<uint32_t>(drawn_));
  ++drawn_;
  return value;
}

int64_t Rng::integer(int64_t low, int64_t high) {
  const double span = static_cast<double>(high - low) + 1.0;
  return low + static_cast<int64_t>(uniform() * span);
}

double Rng::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

}  // namespace ponder::core
