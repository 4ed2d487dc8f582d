// Requests and results as JSON, in the form of tests/cases/sandbox/run_suite.py and of `ponder
// sandbox run --json`.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "sandbox/sandbox.h"

namespace ponder::sandbox {

// {language, mode: "stdin"|"function", code or code_b64, stdin_b64, expected_b64|null, tests|null,
// limits}. Limits: cpu_s, wall_s, mem_mb, pids, output_kb, file_mb, disk_mb, inodes, open_files,
// stack_mb; absent ones keep their defaults. In mode stdin `tests` may be [{stdin, expected}, ...];
// in mode function it is {entry_point, assert_tests, io_pairs, setup}. Throws UserError that names
// the key.
Request request_from_json(const nlohmann::json& json);

// Tests alone, as in the file of --tests.
void read_tests(const nlohmann::json& tests, Request& request);

// {verdict, passed, stdout_b64, stderr_b64, cpu_s, wall_s, mem_mb, ...}: bytes as base64.
nlohmann::json reply_to_json(const Result& result);

// {verdict, passed, exit_code, signal, stdout, stderr, cpu_s, wall_s, memory_peak_bytes, tests}:
// bytes as text, what is no UTF-8 replaced.
nlohmann::json result_to_json(const Result& result);

// RFC 4648 with padding; blanks are refused. Throws UserError.
std::string base64_decode(std::string_view text);
std::string base64_encode(std::string_view bytes);

}  // namespace ponder::sandbox
