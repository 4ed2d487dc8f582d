#include "distributed/gpu_choice.h"

#include <gmock/gmock.h>

#include "core/error.h"

namespace ponder::distributed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Worker worker(int rank, int local_rank) {
  return {.rank = rank, .world_size = 16, .local_rank = local_rank};
}

TEST(GpuChoice, IsTheLocalRank) {
  EXPECT_EQ(own_gpu(worker(0, 0), 8), 0);
  EXPECT_EQ(own_gpu(worker(13, 5), 8), 5);
}

TEST(GpuChoice, WhoSeesOneGpuTakesIt) {
  EXPECT_EQ(own_gpu(worker(13, 5), 1), 0);
}

TEST(GpuChoice, MoreWorkersThanGpusIsAnError) {
  try {
    own_gpu(worker(4, 4), 4);
    FAIL();
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("rank 4"), HasSubstr("shows 4 GPUs"),
                                    HasSubstr("at most 4 workers")));
  }
}

TEST(GpuChoice, OneGpuForTwoWorkersIsAnErrorThatNamesThem) {
  EXPECT_NO_THROW(check_distinct_gpus({"aa", "bb", "cc"}));
  try {
    check_distinct_gpus({"aa", "bb", "cc", "bb"});
    FAIL();
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("ranks 1 and 3"), HasSubstr("bb"), HasSubstr("LOCAL_RANK")));
  }
}

}  // namespace
}  // namespace ponder::distributed
