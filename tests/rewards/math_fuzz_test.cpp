// Mutations of the labelled cases, with a fixed seed: splices, swaps, deletions, and pieces of
// LaTeX in the wrong place.
#include "tests/rewards/math_fuzz.h"

#include <algorithm>
#include <random>

#include "tests/rewards/math_cases.h"

namespace ponder::rewards {
namespace {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {
    for (const char* name : {"paraphrase", "mathverify_tests", "policy", "nemo_skills"}) {
      for (const auto& entry : read_json_lines(math_cases_dir() / (std::string(name) + ".jsonl"))) {
        const std::string gold = entry["gold"], answer = entry["answer"];
        corpus_.push_back(gold + "\n" + answer.substr(0, 400));
      }
    }
  }

  std::string next() {
    std::string input = pick(corpus_);
    const size_t changes = 1 + below(4);
    for (size_t i = 0; i < changes; ++i) change(input);
    return input;
  }

 private:
  size_t below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  const std::string& pick(const std::vector<std::string>& from) { return from[below(from.size())]; }

  void change(std::string& input) {
    static const std::vector<std::string> kPieces = {"{",
                                                     "}",
                                                     "(",
                                                     ")",
                                                     "[",
                                                     "]",
                                                     "\\{",
                                                     "\\}",
                                                     "^",
                                                     "_",
                                                     "\\frac",
                                                     "\\sqrt[",
                                                     "\\boxed{",
                                                     "$",
                                                     "|",
                                                     "\\left",
                                                     "\\begin{pmatrix}",
                                                     "\\end{pmatrix}",
                                                     "\\\\",
                                                     "&",
                                                     "!",
                                                     "%",
                                                     "\\pm",
                                                     "\\cup",
                                                     "\\infty",
                                                     "=",
                                                     "<",
                                                     ",",
                                                     "\\text{",
                                                     "\\sum_{k=1}^{9}",
                                                     "\\log_",
                                                     "9^{9^9}",
                                                     "1e999",
                                                     "\\overline{",
                                                     "\xE2\x88\x9A",
                                                     "\xFF",
                                                     std::string(1, '\0'),
                                                     "0.",
                                                     "\\%",
                                                     " or ",
                                                     "\\in",
                                                     "x",
                                                     "i",
                                                     "e",
                                                     "\\pi",
                                                     "-",
                                                     "/0",
                                                     "\\sin^{-1}",
                                                     "<think>",
                                                     "</answer>",
                                                     "\n",
                                                     "_7",
                                                     "\\det",
                                                     "\\max(",
                                                     "\\lfloor",
                                                     "\\int",
                                                     ":",
                                                     "...",
                                                     "'",
                                                     "\\begin{cases}",
                                                     "\\binom",
                                                     "^\\circ",
                                                     "{}_5C_2",
                                                     "\\pmod{7}",
                                                     "\\land",
                                                     "_{\\text{two}}",
                                                     "A3_{16}",
                                                     "1]",
                                                     "[2,",
                                                     "333...",
                                                     "\\begin{vmatrix}",
                                                     "{,}5"};
    const size_t at = below(input.size() + 1);
    switch (below(6)) {
      case 0:
        input.insert(at, pick(kPieces));
        break;
      case 1:
        input.erase(at, 1 + below(6));
        break;
      case 2:
        if (!input.empty()) input[below(input.size())] = static_cast<char>(random_());
        break;
      case 3: {
        const std::string& other = pick(corpus_);
        const size_t from = below(other.size());
        input.insert(at, other.substr(from, below(40)));
        break;
      }
      case 4: {
        const std::string piece = input.substr(at, below(30));
        for (size_t i = below(6); i > 0; --i) input.insert(at, piece);
        break;
      }
      default:
        if (input.size() > 1) std::swap(input[below(input.size())], input[below(input.size())]);
    }
    if (input.size() > 4000) input.resize(4000);
  }

  std::mt19937_64 random_;
  std::vector<std::string> corpus_;
};

void run_mutations(uint64_t seed, int count) {
  Mutator mutator(seed);
  double slowest = 0;
  std::string slowest_input;
  for (int i = 0; i < count; ++i) {
    const std::string input = mutator.next();
    const double start = thread_cpu_seconds();
    fuzz_math(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    const double spent = thread_cpu_seconds() - start;
    if (spent > slowest) {
      slowest = spent;
      slowest_input = input;
    }
  }
  // Up to six judgements an input.
  EXPECT_LE(slowest, kSlowdown * 6 * 0.05) << slowest_input;
  std::printf("[          ] slowest of %d: %.1f ms\n", count, 1000 * slowest);
}

// $PONDER_FUZZ_INPUTS asks for another number of inputs.
TEST(MathFuzz, MutatedCasesComeToAVerdict) {
  const char* asked = std::getenv("PONDER_FUZZ_INPUTS");
  const int count = asked           ? std::atoi(asked)
                    : kSlowdown > 1 ? PONDER_MUTATIONS / 4
                                    : PONDER_MUTATIONS;
  run_mutations(20240917 + static_cast<uint64_t>(count), count);
}

}  // namespace
}  // namespace ponder::rewards
