// Where each worker writes, twice a second, that it lives and what it does, so that an error can
// name the one that is missing. Kept in the group's store, by a thread of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace ponder::distributed {

// One worker's last word.
struct Notice {
  int64_t beat = 0;        // grows by one each half second while the worker lives
  int64_t collective = 0;  // how many collectives it has entered; sends and receives not counted
  double seconds = 0;      // since it began what it does
  std::string doing = {};
  std::string error = {};  // its last word: why it gave up
  bool waiting = false;    // for others: in a collective, a send or a receive
  int peer = -1;           // the rank that it sends to or receives from; -1: none
};
std::string to_text(const Notice& notice);
std::optional<Notice> parse_notice(const std::string& text);

// The store as the board needs it; each may throw when the store is gone.
struct BoardStore {
  int holder = 0;  // the rank that holds it; -1: the launcher does
  std::function<void(int rank, const std::string& text)> write;
  std::function<std::string(int rank)> read;  // "" where nothing was written yet
};

// Who keeps a worker waiting.
struct Diagnosis {
  std::string text = {};     // "rank 2 is missing: ..."; empty: nobody that the board knows of
  bool root_silent = false;  // rank 0 is missing or late: it will say nothing of all this itself
};

class Board {
 public:
  Board(int rank, int size, BoardStore store);
  ~Board();

  void doing(std::string what);
  // It waits for all workers from here on, or, in a send or receive, for `peer`; until leave().
  void enter_collective(std::string what);
  void enter_exchange(std::string what, int peer);
  void leave();
  // This worker gives up: the others are told why.
  void give_up(std::string error);

  // Watches the board for two seconds and says who keeps this worker waiting: "rank 2 is missing:
  // last heard of while sampling ..." or "rank 1 has not come: it is scoring for 40 s". Never
  // throws, and never takes more than some seconds, even where the store is behind a dead line.
  Diagnosis diagnose();

 private:
  void enter(std::string what, int peer);
  void beat();
  Notice own() const;

  int rank_, size_;
  BoardStore store_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string doing_ = "starting", before_, error_;
  double since_ = 0;
  int64_t collective_ = 0, beats_ = 0;
  bool waiting_ = false, stop_ = false;
  int peer_ = -1;
  std::thread thread_;
};

// What diagnose() says of two looks at the board, some seconds apart, by worker `own_rank` whose
// own state is `own`. One that waits itself is accused only where nobody else can be: then the
// worker at the end of the chain of those that wait for each other's sends and receives. Pure.
Diagnosis missing_workers(const std::vector<std::optional<Notice>>& first,
                          const std::vector<std::optional<Notice>>& second, int own_rank,
                          const Notice& own);

}  // namespace ponder::distributed
