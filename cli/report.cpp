#include "recipes/report.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"

namespace ponder::cli {
namespace {

struct ReportRequest {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path output;
};

void run_report(ReportRequest request) {
  if (std::filesystem::is_directory(request.output)) request.output /= "report.html";
  if (request.output.empty())
    request.output = request.runs.size() == 1 ? request.runs[0] / "report.html" : "comparison.html";
  recipes::write_report(request.runs, request.output);
  fmt::print("{}\n", request.output.string());
}

}  // namespace

void add_report(CLI::App& app) {
  auto request = std::make_shared<ReportRequest>();
  CLI::App* verb =
      app.add_subcommand("report", "the HTML report of a run, or a comparison of several");
  verb->add_option("runs", request->runs, "run folders")->required();
  verb->add_option("-o,--output", request->output,
                   "the page; without it RUN/report.html, or comparison.html for several");
  verb->footer("Example:\n  ponder report runs/r1_zero_tiny");
  verb->callback([request] { run_report(*request); });
}

}  // namespace ponder::cli
