#include "cli/sandbox_command.h"

#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "sandbox/request_json.h"

namespace ponder::cli {

namespace {

using sandbox::Limits;
using Json = nlohmann::json;

struct Arguments {
  std::string request, language = "python", file, input, tests, expected;
  std::vector<std::string> allow_weaker, language_files;
  Limits limits;
  bool as_json = false, warm = false;
};

std::string read_input(const std::string& path, const char* what) {
  if (path != "-") return core::read_file(path, what);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

Json parse(const std::string& text, const std::string& where) {
  return core::parse_json<Json>(text, where);
}

sandbox::Request request_from_arguments(const Arguments& arguments) {
  if (arguments.file.empty() == arguments.request.empty())
    core::throw_user(
        "ponder sandbox run: give a program FILE, or --request FILE (- for standard input)");
  if (!arguments.request.empty())
    return sandbox::request_from_json(
        parse(read_input(arguments.request, "request"), "--request " + arguments.request));
  sandbox::Request request;
  request.language = arguments.language;
  request.code = read_input(arguments.file, "program");
  request.limits = arguments.limits;
  if (!arguments.input.empty())
    request.tests[0].input = read_input(arguments.input, "standard input of the program");
  if (!arguments.expected.empty())
    request.tests[0].expected = read_input(arguments.expected, "expected output");
  if (!arguments.tests.empty())
    sandbox::read_tests(parse(read_input(arguments.tests, "tests"), "--tests " + arguments.tests),
                        request);
  return request;
}

void print(const sandbox::Result& result, const Arguments& arguments) {
  if (!arguments.request.empty()) {
    std::cout << sandbox::reply_to_json(result).dump() << std::endl;
  } else if (arguments.as_json) {
    std::cout << sandbox::result_to_json(result).dump() << std::endl;
  } else {
    std::cout << result.out << std::flush;
    std::cerr << result.err << sandbox::verdict_code(result.verdict)
              << (result.reason.empty() ? "" : ": ") << result.reason
              << fmt::format(" (CPU {:.3f} s, wall {:.3f} s, memory {:.1f} MiB)\n", result.cpu_s,
                             result.wall_s,
                             static_cast<double>(result.memory_peak_bytes) / (1 << 20));
  }
}

void run(const Arguments& arguments) {
  const sandbox::Request request = request_from_arguments(arguments);
  sandbox::Options options;
  options.slots = 1;
  options.warm = arguments.warm;
  options.allow_weaker = arguments.allow_weaker;
  for (const auto& file : arguments.language_files)
    for (auto& language : sandbox::read_languages(file))
      options.languages.push_back(std::move(language));
  sandbox::Sandbox box(std::move(options));
  box.check_language(request.language);
  print(box.run(request), arguments);
}

void add_limits(CLI::App& verb, Limits& limits) {
  const CLI::AsSizeValue size(false);
  verb.add_option("--cpu", limits.cpu_s, "CPU seconds of all its processes together")
      ->check(CLI::PositiveNumber);
  verb.add_option("--wall", limits.wall_s, "wall-clock seconds")->check(CLI::PositiveNumber);
  verb.add_option("--memory", limits.memory_bytes, "bytes of all its processes together, e.g. 256M")
      ->transform(size);
  verb.add_option("--processes", limits.processes, "processes and threads at a time")
      ->check(CLI::PositiveNumber);
  verb.add_option("--output", limits.output_bytes, "bytes of stdout and of stderr, e.g. 256K")
      ->transform(size);
  verb.add_option("--file-size", limits.file_bytes, "bytes of the largest file it writes")
      ->transform(size);
  verb.add_option("--disk", limits.disk_bytes, "bytes in /tmp and in /dev/shm")->transform(size);
  verb.add_option("--open-files", limits.open_files, "open files of a process")
      ->check(CLI::PositiveNumber);
}

}  // namespace

void add_sandbox_command(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("sandbox", "run untrusted programs in isolation");
  verb->require_subcommand(1);
  CLI::App* sub = verb->add_subcommand("run", "one program under limits, its verdict as JSON");
  sub->footer(
      "Example: ponder sandbox run --language python solution.py --stdin input.txt --cpu 2 "
      "--memory 256M --json");
  const auto arguments = std::make_shared<Arguments>();
  sub->add_option("--request", arguments->request,
                  "one JSON request (a file, or - for standard input); replies in JSON");
  sub->add_option("FILE", arguments->file, "the program (- for standard input)");
  sub->add_option("--language", arguments->language, "python, cpp, or a name from --languages");
  sub->add_option("--languages", arguments->language_files,
                  "TOML file that describes further languages");
  sub->add_option("--stdin", arguments->input, "file with the program's standard input");
  sub->add_option("--expected", arguments->expected, "file with the expected output");
  sub->add_option("--tests", arguments->tests,
                  "JSON: [{stdin, expected}, ...] or {entry_point, assert_tests or io_pairs}");
  sub->add_option("--allow-weaker", arguments->allow_weaker,
                  "run although this machine misses the guarantee of that name");
  sub->add_flag("--warm", arguments->warm, "fork Python from a ready interpreter");
  sub->add_flag("--json", arguments->as_json, "one JSON object on standard output");
  add_limits(*sub, arguments->limits);
  sub->callback([arguments] { run(*arguments); });
}

}  // namespace ponder::cli
