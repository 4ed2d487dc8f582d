#include "cli/model_convert.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
#include <map>
#include <memory>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/stop.h"
#include "policy/convert.h"

namespace ponder::cli {
namespace {

struct ConvertRequest {
  std::filesystem::path in, out, adapter;
  std::string dtype = "bfloat16";
  std::string max_shard_size = "5GB";
};

const std::map<std::string, at::ScalarType> kDtypes = {
    {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}, {"float32", at::kFloat}};

// "5GB" and "500MB" are decimal, as in transformers; "2GiB" is binary.
int64_t parse_size(const std::string& text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  const std::map<std::string, int64_t> units = {
      {"", 1},          {"KB", 1000},     {"MB", 1000000},  {"GB", 1000000000},
      {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
  };
  const auto found = units.find(std::string(unit, end));
  int64_t bytes = 0;
  if (error != std::errc() || found == units.end() || number <= 0 ||
      __builtin_mul_overflow(number, found->second, &bytes)) {
    core::throw_user("--max-shard-size: expected a size such as 5GB or 500MB, found '{}'", text);
  }
  return bytes;
}

void run(const ConvertRequest& request) {
  core::catch_stop_signals();
  const policy::ConvertReport report =
      policy::convert_model(request.in, request.out,
                            {.dtype = kDtypes.at(request.dtype),
                             .max_shard_bytes = parse_size(request.max_shard_size),
                             .adapter = request.adapter});
  fmt::print("{}: {} tensors, {} parameters in {}\n", request.out.string(), report.tensors,
             report.parameters, request.dtype);
}

}  // namespace

void add_model_convert(CLI::App& model) {
  auto request = std::make_shared<ConvertRequest>();
  CLI::App* verb = model.add_subcommand(
      "convert",
      "a GGUF file, a folder with FP8 weights or with a LoRA adapter, to a Hugging Face folder");
  verb->add_option("IN", request->in, "a .gguf file or a Hugging Face folder")->required();
  verb->add_option("OUT", request->out, "the new folder; must not exist")->required();
  verb->add_option("--dtype", request->dtype, "of the weights")
      ->check(CLI::IsMember({"bfloat16", "float16", "float32"}))
      ->capture_default_str();
  verb->add_option("--max-shard-size", request->max_shard_size,
                   "weights are divided into files of at most this size")
      ->capture_default_str();
  verb->add_option("--adapter", request->adapter,
                   "a LoRA adapter's folder, as ponder and PEFT save it, to be merged into IN");
  verb->footer(
      "Reads GGUF of the architectures llama, qwen2, qwen3 and deepseek2 with byte-level BPE\n"
      "tokenizers, in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K.\n"
      "Example:\n  ponder model convert SmolLM2-135M-Instruct.Q4_1.gguf smollm2\n"
      "  ponder model convert smollm2 merged --adapter runs/mine/checkpoints/latest/adapter");
  verb->callback([request] { run(*request); });
}

}  // namespace ponder::cli
