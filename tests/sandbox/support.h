// Sandboxes of the kinds that the tests attack: every attack is tried on each of them.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "sandbox/sandbox.h"

namespace ponder::sandbox {

struct Kind {
  const char* name;
  bool warm, use_cgroups;
};
inline constexpr Kind kKinds[] = {
    {"Cold", false, true}, {"Warm", true, true}, {"WithoutCgroups", true, false}};

// One pool of each kind, made when first used; one slot, so that runs follow each other in the same
// boxes.
inline Sandbox& sandbox_of(const Kind& kind) {
  static std::map<std::string, std::unique_ptr<Sandbox>> pools;
  auto& pool = pools[kind.name];
  if (!pool) {
    Options options;
    options.slots = 1;
    options.warm = kind.warm;
    options.use_cgroups = kind.use_cgroups;
    pool = std::make_unique<Sandbox>(options);
  }
  return *pool;
}

inline Request script(std::string code, std::string language = "python") {
  Request request;
  request.language = std::move(language);
  request.code = std::move(code);
  request.limits.cpu_s = 0.5;
  request.limits.wall_s = 1.5;
  request.limits.memory_bytes = 128ULL << 20;
  request.limits.processes = 16;
  return request;
}

// A program that must end well, with time for an interpreter that starts on a loaded machine.
inline Request honest(std::string code, std::string language = "python") {
  Request request = script(std::move(code), std::move(language));
  request.limits.cpu_s = 10;
  request.limits.wall_s = 60;
  return request;
}

}  // namespace ponder::sandbox
