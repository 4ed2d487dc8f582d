#include "tests/rewards/math_fuzz.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "rewards/math/math.h"

namespace ponder::rewards {

void fuzz_math(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = input.find('\n');
  const std::string gold(input.substr(0, split));
  const std::string answer(split == std::string_view::npos ? "" : input.substr(split + 1));
  check_math(answer, gold);
  check_math(gold, answer);
  check_math("\\boxed{" + answer + "}", gold);
  check_math("\\boxed{" + gold + "}", answer);
  // A gold that itself looks like a completion is searched like one.
  const bool plain =
      gold.find_first_of("{}\\#<$") == std::string::npos && gold.find("nswer") == std::string::npos;
  if (!plain || check_gold(gold).status != MathStatus::kRight) return;
  const MathVerdict itself = check_math("\\boxed{" + gold + "}", gold);
  if (itself.status == MathStatus::kRight) return;
  std::fprintf(stderr, "not equal to itself: %s: %s\n", gold.c_str(), itself.reason.c_str());
  std::abort();
}

}  // namespace ponder::rewards

// The entry point of libFuzzer (clang++ -fsanitize=fuzzer,address,undefined); replay_main.cpp runs
// it on files.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ponder::rewards::fuzz_math(data, size);
  return 0;
}
