#include <fmt/format.h>
#include <unistd.h>

#include "core/error.h"
#include "sandbox/compare.h"
#include "sandbox/host.h"
#include "sandbox/supervise.h"

namespace ponder::sandbox {

namespace {

// Compilers get the same walls and larger, fixed limits: their work depends on the code, not on the
// task.
Limits compiler_limits() {
  Limits limits;
  limits.cpu_s = 10;
  limits.wall_s = 25;
  limits.memory_bytes = 512ULL << 20;
  limits.output_bytes = 64ULL << 10;
  limits.file_bytes = limits.disk_bytes = 128ULL << 20;
  limits.open_files = 256;
  return limits;
}
constexpr uint64_t kBinaryBytesMax = 64ULL << 20;
constexpr const char* kRemedy =
    "install it where every user may execute it, or name another (PONDER_PYTHON, PONDER_CXX, or a "
    "description in TOML)";
constexpr int kAttempts = 2;  // a box that fails is replaced and the run repeated once

// Starts, watches and classifies one run, in a fresh box if the first one fails.
template <typename Start>
TestResult attempt(Host& host, Slot& slot, bool warm, const Limits& limits, bool own_binary,
                   Start start, Outcome* raw = nullptr) {
  TestResult result;
  for (int i = 0; i < kAttempts; ++i) {
    Worker& worker = warm ? host.warm_box(slot) : host.box(slot);
    ActiveRun run = start(worker);
    ActiveRun* const runs[] = {&run};
    supervise(runs);
    Outcome outcome = run.take();
    if (outcome.exec_failed && !own_binary)
      core::throw_user("[sandbox] {}: {}", outcome.error, kRemedy);
    if (raw != nullptr) raw->collect_error = outcome.collect_error;
    result = classify(std::move(outcome), limits, own_binary);
    if (result.verdict != Verdict::kInternalError) return result;
    slot.box.reset();
  }
  return result;
}

// A program that prints 42, for the languages that ponder knows; null for others.
const char* trial_of(const std::string& language) {
  if (language == "python") return "print(6 * 7)";
  if (language == "cpp") return "#include <cstdio>\nint main() { std::puts(\"42\"); }";
  return nullptr;
}

// ": " and the last line of what a failed program said, where it said anything.
std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.empty()) return text;
  return ": " + text.substr(text.rfind('\n') + 1);  // npos + 1 is 0: all of it
}

TestResult run_one(Host& host, Slot& slot, const Language& language, const std::string& code,
                   const Program* program, const Test& test, const Limits& limits, bool warm) {
  const bool own_binary = program != nullptr && language.run.empty();
  const Fd source = sealed_file("source", code);
  const Fd input = test.input.empty() ? Fd() : sealed_file("stdin", test.input);
  RunSpec spec;
  spec.kind = warm ? RunKind::kScript : RunKind::kExec;
  if (!warm) {
    spec.argv = own_binary ? std::vector<std::string>{"./main"} : language.run;
    spec.env = environment(language);
  }
  ActiveRun::Inputs inputs;
  if (own_binary) {
    inputs.binary = program->binary.get();
  } else {
    spec.file_names = {program != nullptr ? "main" : language.source};
    inputs.files = {program != nullptr ? program->binary.get() : source.get()};
  }
  TestResult result = attempt(host, slot, warm, limits, own_binary, [&](Worker& worker) {
    // A memory file has one offset for all who hold it: each attempt reads from the beginning.
    if (input) lseek(input.get(), 0, SEEK_SET);
    inputs.in = input.get();
    return ActiveRun(worker, spec, inputs, limits, warm);
  });
  if (result.verdict == Verdict::kAccepted && test.expected &&
      !same_output(result.out, *test.expected)) {
    result.verdict = Verdict::kWrongAnswer;
    result.reason = "the output differs from the expected one";
  }
  return result;
}

}  // namespace

std::shared_ptr<const Program> compile(Host& host, Slot& slot, const Language& language,
                                       const std::string& code, bool& from_cache) {
  const std::string key = language.name + '\0' + code;
  if (auto found = host.cache.find(key)) {
    from_cache = true;
    return found;
  }
  auto program = std::make_shared<Program>();
  program->binary = empty_file("program");
  const Fd source = sealed_file("source", code);
  const Limits limits = compiler_limits();
  RunSpec spec;
  spec.argv = language.compile;
  spec.env = environment(language);
  spec.file_names = {language.source};
  spec.collect = "main";
  spec.collect_bytes_max = kBinaryBytesMax;
  ActiveRun::Inputs inputs;
  inputs.files = {source.get()};
  inputs.collect = program->binary.get();
  Outcome raw;
  TestResult& result = program->compiling;
  result = attempt(
      host, slot, false, limits, false,
      [&](Worker& worker) { return ActiveRun(worker, spec, inputs, limits, false); }, &raw);
  if (result.verdict == Verdict::kInternalError)
    return program;  // not the code's fault: not cached
  const bool done =
      result.verdict == Verdict::kAccepted && raw.collect_error.empty() && seal(program->binary);
  if (!done) {
    const bool limit =
        result.verdict != Verdict::kRuntimeError && result.verdict != Verdict::kAccepted;
    result.reason = limit                       ? "the compiler was stopped: " + result.reason
                    : raw.collect_error.empty() ? "the code does not compile"
                                                : raw.collect_error;
    result.verdict = Verdict::kCompileError;
    program->binary.reset();
  }
  host.cache.insert(key, program);
  return program;
}

void check_language(Host& host, Slot& slot, const Language& language) {
  const Limits limits = compiler_limits();
  for (const auto* command : {&language.compile, &language.run}) {
    if (command->empty()) continue;
    RunSpec spec;
    spec.argv = {command->front(), "--version"};  // whatever it makes of it: it can be executed
    spec.env = environment(language);
    attempt(host, slot, false, limits, false,
            [&](Worker& worker) { return ActiveRun(worker, spec, {}, limits, false); });
  }
  const char* code = trial_of(language.name);
  if (code == nullptr) return;
  const std::vector<std::string>& command =
      language.compile.empty() ? language.run : language.compile;
  const Test test{"", "42"};
  std::shared_ptr<const Program> program;
  TestResult tried;
  bool from_cache = false;
  if (!language.compile.empty()) {
    program = compile(host, slot, language, code, from_cache);
    tried = program->compiling;
  }
  if (!program || tried.verdict == Verdict::kAccepted)
    tried = run_one(host, slot, language, code, program.get(), test, limits, false);
  if (tried.verdict == Verdict::kInternalError)
    core::throw_run("[sandbox] '{}' could not be tried: {}", command.front(), tried.reason);
  if (tried.verdict != Verdict::kAccepted)
    core::throw_user(
        "[sandbox] '{}' does not work as {}: a program that prints 42 gets {} ({}){}; {}",
        command.front(), language.name, verdict_code(tried.verdict), tried.reason,
        last_line(tried.err), kRemedy);
  if (host.options.warm && language.name == "python") host.warm_box(slot);
}

Result run_program(Host& host, Slot& slot, const Request& request) {
  const Language& language = host.language(request.language);
  Result result;
  std::shared_ptr<const Program> program;
  if (!language.compile.empty()) {
    program = compile(host, slot, language, request.code, result.compiled_from_cache);
    if (program->compiling.verdict != Verdict::kAccepted) {
      static_cast<TestResult&>(result) = program->compiling;
      return result;
    }
  }
  const bool warm = host.options.warm && language.name == "python" && !program;
  const TestResult* decisive = nullptr;
  for (const auto& test : request.tests) {
    result.tests.push_back(
        run_one(host, slot, language, request.code, program.get(), test, request.limits, warm));
    if (result.tests.back().verdict != Verdict::kAccepted && !request.run_all_tests) break;
  }
  for (const auto& test : result.tests)
    if (decisive == nullptr ||
        (decisive->verdict == Verdict::kAccepted && test.verdict != Verdict::kAccepted))
      decisive = &test;
  for (const auto& test : result.tests)
    if (test.verdict == Verdict::kInternalError) decisive = &test;
  if (decisive == nullptr) core::throw_user("[sandbox] a request needs at least one test");
  static_cast<TestResult&>(result) = *decisive;
  result.passed = result.verdict == Verdict::kAccepted;
  return result;
}

}  // namespace ponder::sandbox
