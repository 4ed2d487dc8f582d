// One worker process behind three pipes, in a process group of its own with a memory cap. Knows
// lines of text, not rewards.
//
// Started by fork and execve with only async-signal-safe calls between them. Looked at and not
// taken: posix_spawn sets neither a memory limit nor a parent-death signal, and Boost.Process v2
// (1.81, marked experimental there) brings an event loop but neither of these, nor groups that are
// killed together.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace ponder::rewards {

struct WorkerCommand {
  std::vector<std::string> argv;  // the program is found through PATH
  std::string_view image;     // where not empty: the program's own bytes, run in place of argv[0]
  uint64_t memory_bytes = 0;  // address space of each of its processes; 0: no cap
};

// The thread that makes a child must outlive it: the kernel ends a child with the thread that
// started it, so that none is left when ponder is killed. SIGPIPE is blocked in that thread.
class Child {
 public:
  // Throws RunError when no process can be made.
  explicit Child(const WorkerCommand& command);
  // Kills the whole group and waits for it.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  enum class End { kDone, kTimeout, kClosed, kFlood };
  struct Exchange {
    End end = End::kDone;
    std::vector<std::string> lines;  // what came, without line ends
  };
  // Writes `request` and reads until `num_lines` whole lines have come, both at once, so that
  // neither side can block the other. kFlood: more than `reply_bytes_max` came, or bytes behind the
  // last line. Stops at the deadline.
  Exchange exchange(std::string_view request, size_t num_lines,
                    std::chrono::duration<double> deadline, size_t reply_bytes_max);

  // Whether it runs and has written nothing that nobody asked for.
  bool quiet();
  // The last bytes that it wrote to stderr, and how it ended ("" while it runs): for a person.
  const std::string& talk() const { return talk_; }
  std::string ending();
  uint64_t talk_bytes() const { return talk_bytes_; }

 private:
  void close_pipes();
  ssize_t read_talk();

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  std::string pending_;  // of a reply's line
  std::string talk_;
  uint64_t talk_bytes_ = 0;
};

}  // namespace ponder::rewards
