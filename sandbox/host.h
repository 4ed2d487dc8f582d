// What the parts of a Sandbox share: configuration, boxes by slot, compiled programs. Private to
// the folder.
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "sandbox/classify.h"
#include "sandbox/sandbox.h"
#include "sandbox/worker.h"

namespace ponder::sandbox {

// The guarantee without which nothing runs; the others can be given up by name.
inline constexpr const char* kIsolation = "isolation";

// A compiled program, or why there is none.
struct Program {
  Fd binary;             // sealed
  TestResult compiling;  // verdict AC or CE or IE, the compiler's messages in err
};

// Compiled programs by language and source; the least recently used go when the bytes are too many.
// Threads may share it.
class CompileCache {
 public:
  explicit CompileCache(uint64_t bytes_max) : bytes_max_(bytes_max) {}
  std::shared_ptr<const Program> find(const std::string& key);
  void insert(const std::string& key, std::shared_ptr<const Program> program);

 private:
  using Entry = std::pair<std::string, std::shared_ptr<const Program>>;
  std::mutex mutex_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> index_;
  uint64_t bytes_ = 0, bytes_max_;
};

// One program at a time: the box it runs in, and the box of the tests that judge it. Boxes start
// when first needed.
struct Slot {
  int number = 0;
  std::unique_ptr<Worker> box, judge;
};

struct Host {
  explicit Host(Options options_given);
  Options options;
  std::map<std::string, Language> languages;
  BoxConfig boxes;
  CompileCache cache;

  const Language& language(
      const std::string& name) const;  // throws UserError with the nearest name
  Worker& box(Slot& slot);
  // With a ready interpreter; throws RunError when that cannot start.
  Worker& warm_box(Slot& slot);
  Worker& judge(Slot& slot);

 private:
  Worker& started(std::unique_ptr<Worker>& place, const std::string& name, bool warm);
};

// NAME=value for every program of `language`.
std::vector<std::string> environment(const Language& language);

// Compiles under the compiler's own limits, or finds the program in the cache. Never null.
std::shared_ptr<const Program> compile(Host& host, Slot& slot, const Language& language,
                                       const std::string& code, bool& from_cache);

// Executes the first word of each of the language's commands and, for "python" and "cpp", a program
// of known output. Throws UserError when that fails.
void check_language(Host& host, Slot& slot, const Language& language);

// Runs the tests of a stdin/stdout request.
Result run_program(Host& host, Slot& slot, const Request& request);

// Runs the tests of a function request: the candidate in the slot's box, the tests in its judge.
Result run_function(Host& host, Slot& slot, const Request& request);

}  // namespace ponder::sandbox
