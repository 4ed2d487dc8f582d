#include "distributed/board.h"

#include <map>
#include <mutex>

#include <gmock/gmock.h>

namespace ponder::distributed {
namespace {

using ::testing::HasSubstr;
using Notices = std::vector<std::optional<Notice>>;

const Notice kSampling{.beat = 10, .collective = 4, .seconds = 12, .doing = "sampling"};
// Of the worker that asks, in its fifth collective.
const Notice kOwn{.collective = 5, .waiting = true};

Notice later(Notice notice) {
  notice.beat += 4;
  return notice;
}

TEST(Board, ANoticeSurvivesItsText) {
  const auto back = parse_notice(to_text(kSampling));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->beat, 10);
  EXPECT_EQ(back->collective, 4);
  EXPECT_EQ(back->doing, "sampling");
  EXPECT_FALSE(parse_notice(""));
  EXPECT_FALSE(parse_notice("[1"));
}

TEST(Board, NamesWhoDoesNotBeat) {
  EXPECT_THAT(missing_workers({kSampling, kSampling}, {kSampling, kSampling}, 0, kOwn).text,
              HasSubstr("rank 1 is missing"));
}

TEST(Board, NamesWhoIsLateAndNotWhoWaitsToo) {
  Notice waiting = later(kSampling);
  waiting.collective = 5;
  waiting.waiting = true;
  const Diagnosis found = missing_workers({kSampling, kSampling, kSampling},
                                          {kSampling, later(kSampling), waiting}, 0, kOwn);
  EXPECT_EQ(found.text, "rank 1 has not come: it is sampling since 12 s");
  EXPECT_FALSE(found.root_silent);
}

// A broadcast's root may be one collective ahead of the others that wait for the same worker.
TEST(Board, WhoWaitsIsNotAccusedWhileSomebodyIsMissing) {
  Notice waiting = later(kSampling);
  waiting.waiting = true;
  const Notices first = {kSampling, kSampling, kSampling};
  EXPECT_THAT(missing_workers(first, {kSampling, kSampling, waiting}, 0, kOwn).text,
              ::testing::Not(HasSubstr("rank 2")));
  EXPECT_THAT(missing_workers(first, {kSampling, waiting, waiting}, 0, kOwn).text,
              HasSubstr("rank 2 has not come"));
}

TEST(Board, TheEndOfAChainOfExchangesIsNamed) {
  Notice root = later(kSampling), own = kSampling;
  root.waiting = own.waiting = true;
  root.peer = 1;
  own.peer = 0;
  const Notices first = {kSampling, kSampling, kSampling};
  EXPECT_EQ(missing_workers(first, {root, later(kSampling), own}, 2, own).text,
            "rank 1 has not come: it is sampling since 12 s");
  EXPECT_EQ(missing_workers(first, {later(kSampling), root, own}, 2, own).text,
            "rank 0 has not come: it is sampling since 12 s");
  own.peer = 1;
  EXPECT_TRUE(missing_workers(first, {kSampling, later(kSampling), own}, 2, own).root_silent);
  root.peer = 2;  // they wait for each other: nobody is late
  own.peer = 0;
  EXPECT_EQ(missing_workers(first, {root, later(kSampling), own}, 2, own).text, "");
}

TEST(Board, NamesWhoWasNeverHeardOf) {
  EXPECT_EQ(missing_workers({kSampling, std::nullopt}, {kSampling, std::nullopt}, 0, kOwn).text,
            "rank 1 has never been heard of");
}

TEST(Board, ALostStoreIsSaid) {
  Board board(0, 2,
              {.write = [](int, const std::string&) { throw std::runtime_error("gone"); },
               .read = [](int) -> std::string { throw std::runtime_error("gone"); }});
  EXPECT_THAT(board.diagnose().text, HasSubstr("rank 0 is missing"));
  EXPECT_TRUE(board.diagnose().root_silent);
}

}  // namespace
}  // namespace ponder::distributed
