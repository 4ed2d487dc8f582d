// The numbers that a frozen policy is held and multiplied in, for the verbs that sample.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/policy_files.h"

namespace ponder::cli {

struct SamplingDtype {
  std::string name = "float32";

  bool int8() const { return name == "int8"; }
  PolicyFiles load(const std::filesystem::path& folder) const {
    return load_policy(folder, name == "float32" ? at::kFloat : at::kBFloat16);
  }
};

inline void add_dtype(CLI::App& verb, SamplingDtype& dtype) {
  verb.add_option(
          "--dtype", dtype.name,
          "of weights and cache: bfloat16 is faster; int8: bfloat16 with products in 8 bits, "
          "faster still where the model is larger than the caches, less exact")
      ->check(CLI::IsMember({"float32", "bfloat16", "int8"}))
      ->capture_default_str();
}

}  // namespace ponder::cli
