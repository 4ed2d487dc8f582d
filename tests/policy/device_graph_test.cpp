// Decoding steps as a GPU would capture and replay them, on the stand-in for one: the plugin's
// table with kernels of the host, and graphs that run their body again under the rules of a
// capture.
#include <algorithm>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/device/kernels.h"
#include "policy/paged_attention.h"
#include "tests/policy/device_models.h"
#include "tests/support/far_device.h"

namespace ponder::policy {
namespace {

// The kernels of the plugin, by their bodies on the host, and graphs that remember what to do.
struct FakeGraph {
  void (*body)(void*);
  void* argument;
};
int captures = 0, replays = 0, attentions = 0;

int fake_attention(const PagedJob& job, void*) {
  ++attentions;
  const auto options = at::TensorOptions(job.bfloat16 ? at::kBFloat16 : at::kFloat);
  const auto near = [](const auto* p) { return test::near_pointer(p); };
  int32_t most = 0;
  const auto* lengths = static_cast<const int32_t*>(near(job.lengths));
  const auto* rows = static_cast<const int32_t*>(near(job.rows));
  const auto* table = static_cast<const int32_t*>(near(job.block_table));
  int32_t table_rows = 0, last_block = 0;
  for (int64_t q = 0; q < job.num_queries; ++q) {
    most = std::max(most, lengths[q]);
    table_rows = std::max(table_rows, rows[q] + 1);
  }
  for (int64_t i = 0; i < table_rows * job.blocks; ++i) last_block = std::max(last_block, table[i]);
  const at::Tensor queries = at::from_blob(near(job.queries),
                                           {job.num_queries, job.heads, job.width}, options),
                   cache = at::from_blob(near(job.cache),
                                         {(last_block + 1) * job.block_size, job.stride}, options);
  const PagedContext context{
      at::from_blob(near(job.rows), {job.num_queries}, at::kInt),
      at::from_blob(near(job.lengths), {job.num_queries}, at::kInt),
      at::from_blob(near(job.block_table), {table_rows, job.blocks}, at::kInt), job.block_size};
  const at::Tensor out =
      job.key_step == 0
          ? latent_attention(queries, cache, context, job.value_dim, job.scale)
          : paged_attention(queries, cache, context, job.kv_heads, job.scale, job.window);
  at::from_blob(near(job.out), out.sizes(), at::kFloat).copy_(out);
  return 0;
}

CudaPlugin fake_plugin() {
  return {.device_count = [] { return 1; },
          .set_device = [](int) {},
          .current_stream = []() -> void* { return nullptr; },
          .paged_attention = fake_attention,
          .capture = [](void (*body)(void*), void* argument) -> void* {
            ++captures;
            body(argument);
            const test::CaptureRules rules;
            body(argument);
            return new FakeGraph{body, argument};
          },
          .replay =
              [](void* graph) {
                ++replays;
                const test::CaptureRules rules;
                const auto* fake = static_cast<FakeGraph*>(graph);
                fake->body(fake->argument);
              },
          .drop_graph = [](void* graph) { delete static_cast<FakeGraph*>(graph); }};
}

class WithFakeKernels {
 public:
  WithFakeKernels() { device::install_kernels(at::kPrivateUse1, &plugin_); }
  ~WithFakeKernels() { device::install_kernels(at::kCUDA, nullptr); }

 private:
  CudaPlugin plugin_ = fake_plugin();
};

class CapturedSteps : public testing::TestWithParam<Kind> {};

TEST_P(CapturedSteps, SampleTheSame) {
  const WithFakeKernels fake;
  captures = replays = attentions = 0;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const std::vector<at::Tensor> want = sample_passes(model_of(GetParam(), at::kCPU, dtype)),
                                  got = sample_passes(model_of(GetParam(), test::kFar, dtype));
    for (size_t i = 0; i < want.size(); ++i) {
      SCOPED_TRACE(i);
      EXPECT_LE((want[i] - got[i]).abs().max().item<double>(), dtype == at::kFloat ? 2e-5 : 0.15);
    }
  }
  // Of each run's three steps of single tokens the tables are two and four blocks wide.
  EXPECT_EQ(replays, 6);
  EXPECT_GE(captures, 2);
  EXPECT_LT(captures, replays);
  EXPECT_GT(attentions, 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, CapturedSteps, testing::ValuesIn(kinds()),
                         [](const auto& info) { return info.param.name; });

// The stand-in itself: what it is there to catch, it catches.
TEST(FarDevice, RefusesMixedOperationsAndItsMemoryFaults) {
  const at::Tensor far = at::arange(6, at::kFloat).to(test::kFar), near = at::arange(6, at::kFloat);
  EXPECT_ANY_THROW(far + near);
  EXPECT_ANY_THROW(far.index_select(0, at::tensor({1}, at::kLong)));
  EXPECT_DEATH(static_cast<void>(*static_cast<volatile const float*>(far.const_data_ptr())), "");
  EXPECT_TRUE(at::equal((far * 2).to(at::kCPU), near * 2));
  EXPECT_TRUE(at::equal(far.view({2, 3}).t().contiguous().to(at::kCPU),
                        near.view({2, 3}).t().contiguous()));
  const test::CaptureRules rules;
  EXPECT_ANY_THROW(far.sum().item<float>());
  EXPECT_ANY_THROW(near.to(test::kFar));
}

}  // namespace
}  // namespace ponder::policy
