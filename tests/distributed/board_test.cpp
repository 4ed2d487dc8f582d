#include "distributed/board.h"

#include <map>
#include <mutex>

#include <gmock/gmock.h>

namespace ponder::distributed {
namespace {

using ::testing::HasSubstr;
using Notices = std::vector<std::optional<Notice>>;

const Notice kSampling{.beat = 10, .collective = 4, .seconds = 12, .doing = "sampling"};

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
  EXPECT_THAT(missing_workers({kSampling, kSampling}, {kSampling, kSampling}, 0, 5),
              HasSubstr("rank 1 is missing"));
}

TEST(Board, NamesWhoIsLateAndNotWhoWaitsToo) {
  Notice late = kSampling, waiting = kSampling;
  late.beat = waiting.beat = 14;
  waiting.collective = 5;
  EXPECT_EQ(missing_workers({kSampling, kSampling, kSampling}, {kSampling, late, waiting}, 0, 5),
            "rank 1 has not come: it is sampling since 12 s");
}

TEST(Board, NamesWhoWasNeverHeardOf) {
  EXPECT_EQ(missing_workers({kSampling, std::nullopt}, {kSampling, std::nullopt}, 0, 1),
            "rank 1 has never been heard of");
}

TEST(Board, ALostStoreIsSaid) {
  Board board(0, 2,
              {.write = [](int, const std::string&) { throw std::runtime_error("gone"); },
               .read = [](int) -> std::string { throw std::runtime_error("gone"); }});
  EXPECT_THAT(board.diagnose(), HasSubstr("the store does not answer"));
}

}  // namespace
}  // namespace ponder::distributed
