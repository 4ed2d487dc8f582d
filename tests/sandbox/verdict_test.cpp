// One verdict a limit, on every kind of box.
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/sandbox/support.h"

namespace ponder::sandbox {
namespace {

class EveryBox : public testing::TestWithParam<Kind> {
 protected:
  Sandbox& sandbox() { return sandbox_of(GetParam()); }
};

struct Case {
  const char* name;
  const char* language;
  const char* code;
  const char* verdicts;  // those allowed
};

const Case kCases[] = {
    {"Accepted", "python", "print(42)", "AC"},
    {"WrongAnswer", "python", "print(41)", "WA"},
    {"Exception", "python", "raise ValueError(1)", "RE"},
    {"SystemExitText", "python", "import sys; print(42); sys.exit('no')", "RE"},
    {"ExitBuiltin", "python", "print(42); exit()", "AC"},
    {"SyntaxError", "python", "def f(:", "RE"},
    {"CpuTime", "python", "while True: pass", "TLE"},
    {"CpuTimeOfThreads", "python",
     "import threading\ndef spin():\n    while True: pass\nfor _ in range(4): "
     "threading.Thread(target=spin).start()",
     "TLE"},
    {"WallTime", "python", "import time; print(42, flush=True); time.sleep(60)", "TLE"},
    {"Memory", "python", "b = bytearray(300 << 20); b[::4096] = b'x' * len(b[::4096]); print(42)",
     "MLE RE"},
    {"MemoryOfChildren", "python",
     "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        b = bytearray(60 << "
     "20); b[::4096] = b'x' * len(b[::4096]); time.sleep(60)\ntime.sleep(60)",
     "MLE"},
    {"OutputFlood", "python", "while True: print('x' * 1000)", "OLE"},
    {"ErrorFlood", "python", "import sys\nwhile True: print('x' * 1000, file=sys.stderr)", "OLE"},
    {"OutputJustOver", "python", "print('x' * 300000)", "OLE"},
    {"BinaryAccepted", "cpp", "#include <cstdio>\nint main() { puts(\"42\"); }", "AC"},
    {"FileSize", "cpp",
     "#include <cstdio>\nint main() { FILE* f = fopen(\"f\", \"w\"); static char b[1 << 20]; for "
     "(int i = 0; i < 64; ++i) fwrite(b, 1, sizeof b, f); puts(\"42\"); }",
     "OLE"},
    {"Segfault", "cpp", "int main() { *(volatile int*)0 = 1; }", "RE"},
    {"Abort", "cpp", "#include <cstdlib>\nint main() { abort(); }", "RE"},
    {"ForeignAbi", "cpp",
     "int main() { long r; asm volatile(\"int $0x80\" : \"=a\"(r) : \"0\"(20) : \"memory\"); "
     "return 0; }",
     "SV"},
    {"CompileError", "cpp", "int main({", "CE"},
    {"CompilerReadsNoHostFile", "cpp", "#include \"/etc/shadow\"\nint main() {}", "CE"},
    {"CompilerIncludesBinaryOfNoHostFile", "cpp",
     "asm(\".incbin \\\"/etc/shadow\\\"\");\nint main() {}", "CE"},
};

TEST_P(EveryBox, GivesTheVerdict) {
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    Request request = script(c.code, c.language);
    request.tests = {{"", "42\n"}};
    const Result result = sandbox().run(request);
    const std::string verdict = verdict_code(result.verdict);
    EXPECT_NE(std::string(c.verdicts).find(verdict), std::string::npos)
        << verdict << ": " << result.reason << "\n"
        << result.err;
    EXPECT_EQ(result.passed, verdict == "AC");
    EXPECT_LT(result.wall_s, c.language == std::string("cpp") ? 26 : request.limits.wall_s + 1);
  }
}

TEST_P(EveryBox, ReportsExitStatusSignalAndUse) {
  const Result exited = sandbox().run(honest("import sys; sys.exit(7)"));
  EXPECT_EQ(exited.exit_code, 7);
  EXPECT_FALSE(exited.signal.has_value());
  const Result killed = sandbox().run(honest("import os; os.abort()"));
  EXPECT_EQ(killed.signal, 6);
  EXPECT_FALSE(killed.exit_code.has_value());
  const Result worked = sandbox().run(honest(
      "b = bytearray(50 << 20); b[::4096] = b'x' * len(b[::4096])\nfor i in range(3000000): pass"));
  EXPECT_GT(worked.cpu_s, 0.01);
  EXPECT_GT(worked.memory_peak_bytes, 40U << 20);
}

TEST_P(EveryBox, KeepsOutputUpToTheLimitAndSaysThatItIsCut) {
  Request request =
      honest("print('x' * 100, end='', flush=True); import sys; sys.stderr.write('y' * 5000)");
  request.limits.output_bytes = 1000;
  // An interpreter that starts cold on a loaded machine may need longer than honest()'s limits.
  request.limits.cpu_s = 10;
  request.limits.wall_s = 60;
  const Result result = sandbox().run(request);
  EXPECT_EQ(result.verdict, Verdict::kOutputLimit) << result.reason;
  EXPECT_EQ(result.out, std::string(100, 'x'));
  EXPECT_FALSE(result.out_cut);
  EXPECT_EQ(result.err, std::string(1000, 'y'));
  EXPECT_TRUE(result.err_cut);
}

TEST_P(EveryBox, StopsAtTheFirstFailureUnlessAsked) {
  Request request = honest("print(int(input()) + 1)");
  request.tests = {{"1\n", "2"}, {"2\n", "9"}, {"3\n", "4"}};
  EXPECT_EQ(sandbox().run(request).tests.size(), 2U);
  request.run_all_tests = true;
  const Result all = sandbox().run(request);
  ASSERT_EQ(all.tests.size(), 3U);
  EXPECT_EQ(all.tests[2].verdict, Verdict::kAccepted);
  EXPECT_EQ(all.verdict, Verdict::kWrongAnswer);
  EXPECT_FALSE(all.passed);
}

TEST_P(EveryBox, SecondRunOfTheSameSourceIsNotCompiled) {
  Request request = honest(
      "#include <cstdio>\nint main() { int a, b; scanf(\"%d%d\", &a, &b); printf(\"%d\\n\", a + "
      "b); }",
      "cpp");
  request.tests = {{"1 2", "3"}, {"20 22", "42"}};
  EXPECT_TRUE(sandbox().run(request).passed);
  const Result again = sandbox().run(request);
  EXPECT_TRUE(again.passed);
  EXPECT_TRUE(again.compiled_from_cache);
}

TEST_P(EveryBox, NoTestIsWrongUse) {
  Request request = honest("print(1)");
  request.tests.clear();
  EXPECT_THROW(sandbox().run(request), core::UserError);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryBox, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ponder::sandbox
