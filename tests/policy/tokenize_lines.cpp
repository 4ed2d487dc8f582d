// JSON lines over a tokenizer folder, for tools/check_tokenizers.py: {"text": ...} -> {"tokens":
// [...]}, and
// {"tokens": [...]} -> {"text": ..., "stream": ...}. `--bench` prints seconds instead.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "policy/tokenizer.h"

using ponder::policy::StreamDecoder;
using ponder::policy::Tokenizer;

namespace {

nlohmann::json answer(const Tokenizer& tokenizer, const nlohmann::json& line) {
  if (line.contains("text")) {
    return {{"tokens",
             tokenizer.encode(line["text"].get<std::string>(), line.value("special", false))}};
  }
  const auto ids = line["tokens"].get<std::vector<int32_t>>();
  const bool skip = line.value("skip", false);
  StreamDecoder decoder(tokenizer, skip);
  std::string stream;
  for (const int32_t id : ids) stream += decoder.push(id);
  stream += decoder.finish();
  return {{"text", tokenizer.decode(ids, skip)}, {"stream", stream}};
}

int bench(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);)
    texts.push_back(nlohmann::json::parse(line)["text"]);
  double best = 1e9;
  size_t tokens = 0;
  for (int round = 0; round < 3; ++round) {
    tokens = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& text : texts) tokens += tokenizer.encode(text).size();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::printf("{\"seconds\": %.6f, \"tokens\": %zu}\n", best, tokens);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenize_lines FOLDER [--bench] < lines.jsonl\n");
    return 2;
  }
  try {
    const Tokenizer tokenizer = Tokenizer::from_folder(argv[1]);
    if (argc > 2) return bench(tokenizer);
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << answer(tokenizer, nlohmann::json::parse(line)).dump() << '\n';
    }
  } catch (const ponder::core::UserError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
