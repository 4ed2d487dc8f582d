#include "distributed/board.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <utility>

#include <fmt/format.h>

namespace ponder::distributed {
namespace {

constexpr std::chrono::milliseconds kBeat{500};
// Between the two looks of diagnose(): a living worker beats at least twice.
constexpr std::chrono::milliseconds kWatch{2000};
// What diagnose() takes at most.
constexpr std::chrono::milliseconds kAnswer{6000};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string to_text(const Notice& notice) {
  return nlohmann::json{{"beat", notice.beat},
                        {"collective", notice.collective},
                        {"seconds", notice.seconds},
                        {"doing", notice.doing},
                        {"error", notice.error}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Notice> parse_notice(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  return Notice{json.value("beat", int64_t{0}), json.value("collective", int64_t{0}),
                json.value("seconds", 0.0), json.value("doing", std::string()),
                json.value("error", std::string())};
}

std::string missing_workers(const std::vector<std::optional<Notice>>& first,
                            const std::vector<std::optional<Notice>>& second, int own_rank,
                            int64_t collective) {
  std::string out;
  const auto add = [&](const std::string& sentence) {
    out += (out.empty() ? "" : "; ") + sentence;
  };
  for (size_t r = 0; r < second.size(); ++r) {
    if (static_cast<int>(r) == own_rank) continue;
    if (!second[r]) {
      add(fmt::format("rank {} has never been heard of", r));
    } else if (!second[r]->error.empty()) {
      add(fmt::format("rank {} gave up: {}", r, second[r]->error));
    } else if (first[r] && first[r]->beat == second[r]->beat) {
      add(fmt::format("rank {} is missing (dead, paused or cut off): last heard of while {}", r,
                      second[r]->doing));
    } else if (second[r]->collective < collective) {
      add(fmt::format("rank {} has not come: it is {} since {:.0f} s", r, second[r]->doing,
                      second[r]->seconds));
    }
  }
  return out;
}

Board::Board(int rank, int size, BoardStore store)
    : rank_(rank), size_(size), store_(std::move(store)), since_(now()) {
  thread_ = std::thread([this] { beat(); });
}

Board::~Board() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Board::doing(std::string what) {
  const std::lock_guard lock(mutex_);
  doing_ = std::move(what);
  since_ = now();
}

void Board::enter_collective(std::string what) {
  const std::lock_guard lock(mutex_);
  before_ = std::exchange(doing_, "waiting for " + std::move(what));
  since_ = now();
  ++collective_;
}

void Board::leave_collective() {
  const std::lock_guard lock(mutex_);
  doing_ = std::move(before_);
  since_ = now();
}

Notice Board::own() const {
  return {beats_, collective_, now() - since_, doing_, error_};
}

void Board::give_up(std::string error) {
  Notice notice;
  {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    notice = own();
  }
  try {
    store_.write(rank_, to_text(notice));
  } catch (const std::exception&) {
    // Nobody is left to be told.
  }
}

void Board::beat() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    ++beats_;
    const std::string text = to_text(own());
    lock.unlock();
    try {
      store_.write(rank_, text);
    } catch (const std::exception&) {
      // The store went with rank 0: whoever waits in a collective says so.
    }
    lock.lock();
    changed_.wait_for(lock, kBeat, [this] { return stop_; });
  }
}

namespace {

constexpr const char* kNoStore =
    "the store does not answer: whoever holds it (rank 0, or the launcher) is dead, paused or cut "
    "off";

std::string look_twice(const BoardStore& store, int own_rank, int size, int64_t collective) {
  const auto look = [&] {
    std::vector<std::optional<Notice>> notices;
    for (int r = 0; r < size; ++r) notices.push_back(parse_notice(store.read(r)));
    return notices;
  };
  try {
    const auto first = look();
    // Who has said why needs no second look.
    const bool told = std::any_of(first.begin(), first.end(), [](const auto& notice) {
      return notice && !notice->error.empty();
    });
    if (!told) std::this_thread::sleep_for(kWatch);
    return missing_workers(first, look(), own_rank, collective);
  } catch (const std::exception&) {
    return kNoStore;
  }
}

}  // namespace

std::string Board::diagnose() {
  int64_t collective = 0;
  {
    const std::lock_guard lock(mutex_);
    collective = collective_;
  }
  // Over a line that is dead without a word a read waits for ever: it is left to itself then.
  std::promise<std::string> answer;
  std::future<std::string> future = answer.get_future();
  std::thread([answer = std::move(answer), store = store_, rank = rank_, size = size_,
               collective]() mutable {
    answer.set_value(look_twice(store, rank, size, collective));
  }).detach();
  if (future.wait_for(kAnswer) != std::future_status::ready) return kNoStore;
  return future.get();
}

}  // namespace ponder::distributed
