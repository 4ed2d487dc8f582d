// Where a worker that is not rank 0 talks to: a file of the run's folder.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>

namespace ponder::recipes {

// Of rank 0 it does nothing. Of others, from here to the end of the process, stdout and stderr are
// a file without a name, until the run's folder is known.
class WorkerLog {
 public:
  explicit WorkerLog(int rank);

  // RUN/logs/rank-N.log, appended to; what was said before goes there first. Throws UserError where
  // the file cannot be opened.
  void move_to(const std::filesystem::path& run_dir);

  // A line to where stderr was before, with the log's path: what the user must see although this
  // is not rank 0. Of rank 0 it does nothing.
  void tell_console(const std::string& line) const;

 private:
  int rank_;
  int console_ = -1;            // stderr as it was
  std::filesystem::path path_;  // empty: not moved yet
};

}  // namespace ponder::recipes
