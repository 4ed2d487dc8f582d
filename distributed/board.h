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
  int64_t collective = 0;  // how many collectives it has entered
  double seconds = 0;      // since it began what it does
  std::string doing = {};
  std::string error = {};  // its last word: why it gave up
};
std::string to_text(const Notice& notice);
std::optional<Notice> parse_notice(const std::string& text);

// The store as the board needs it; each may throw when the store is gone.
struct BoardStore {
  std::function<void(int rank, const std::string& text)> write;
  std::function<std::string(int rank)> read;  // "" where nothing was written yet
};

class Board {
 public:
  Board(int rank, int size, BoardStore store);
  ~Board();

  void doing(std::string what);
  void enter_collective(std::string what);
  void leave_collective();
  // This worker gives up: the others are told why.
  void give_up(std::string error);

  // Watches the board for two seconds and says who keeps this worker waiting: "rank 2 is missing:
  // last heard of while sampling ..." or "rank 1 has not come: it is scoring for 40 s". Never
  // throws, and never takes more than some seconds, even where the store is behind a dead line.
  std::string diagnose();

 private:
  void beat();
  Notice own() const;

  int rank_, size_;
  BoardStore store_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string doing_ = "starting", before_, error_;
  double since_ = 0;
  int64_t collective_ = 0, beats_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

// What diagnose() says of two looks at the board, some seconds apart, by a worker that waits in
// collective number `collective`. Pure.
std::string missing_workers(const std::vector<std::optional<Notice>>& first,
                            const std::vector<std::optional<Notice>>& second, int own_rank,
                            int64_t collective);

}  // namespace ponder::distributed
