#include "policy/product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "policy/block_gemm.h"

namespace ponder::policy {
namespace {

struct Shape {
  int64_t m, k, n;
};

// Rows, columns and depths around the blocks' sizes, and odd ones.
const Shape kShapes[] = {{64, 64, 64},   {65, 64, 64},  {1, 300, 200},  {37, 192, 80},
                         {200, 257, 63}, {63, 513, 65}, {130, 31, 129}, {300, 1000, 7}};

at::Tensor exact(const at::Tensor& a, const at::Tensor& b) {
  return at::mm(a.to(at::kDouble), b.to(at::kDouble));
}

// As far apart as float32 sums of k products may be; bfloat16: rounded once after that.
void expect_near(const at::Tensor& got, const at::Tensor& want, int64_t k,
                 const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  if (got.scalar_type() == at::kBFloat16) {
    const at::Tensor off = (got.to(at::kDouble) - want).abs() - want.abs() * 0x1p-8;
    EXPECT_LE(off.max().item<double>(), 1e-4) << what;
    return;
  }
  const double error = (got.to(at::kDouble) - want).abs().max().item<double>();
  EXPECT_LE(error, 1e-6 * (8 + std::sqrt(static_cast<double>(k)) * 8)) << what;
}

class ProductOf : public testing::TestWithParam<at::ScalarType> {
 protected:
  static at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes).to(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Dtypes, ProductOf, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST_P(ProductOf, EqualsFloat64OfPlainAndTransposedOperands) {
  at::manual_seed(1);
  for (const Shape& s : kShapes) {
    const std::string what =
        std::to_string(s.m) + " " + std::to_string(s.k) + " " + std::to_string(s.n);
    const at::Tensor a = random({s.m, s.k}), b = random({s.k, s.n});
    const at::Tensor at = random({s.k, s.m}).t(), bt = random({s.n, s.k}).t();
    expect_near(product(a, b), exact(a, b), s.k, what);
    expect_near(product(a, bt), exact(a, bt), s.k, what + " b transposed");
    expect_near(product(at, b), exact(at, b), s.k, what + " a transposed");
    expect_near(product(at, bt), exact(at, bt), s.k, what + " both transposed");
  }
}

TEST_P(ProductOf, TakesViewsOfWiderMemory) {
  at::manual_seed(2);
  const at::Tensor a = random({100, 300}).narrow(1, 20, 200),
                   b = random({200, 500}).narrow(1, 7, 96);
  expect_near(product(a, b), exact(a, b), 200, "narrowed");
  const at::Tensor spread = random({100, 2, 200}).select(1, 0);
  expect_near(product(spread, b), exact(spread, b), 200, "selected");
  const at::Tensor same = random({200}).expand({100, 200});
  expect_near(product(same, b), exact(same, b), 200, "expanded");
}

TEST(Product, NothingToAddUpIsZeroAndNothingIsEmpty) {
  EXPECT_TRUE(at::equal(product(at::empty({80, 0}), at::empty({0, 90})), at::zeros({80, 90})));
  EXPECT_EQ(product(at::empty({0, 64}), at::randn({64, 90})).sizes(),
            (std::vector<int64_t>{0, 90}));
}

// A block is one thread's and added up in one order, whoever has it.
TEST_P(ProductOf, SameBitsWithAnyNumberOfThreadsAndRows) {
  if (!block_gemm_is_fast(GetParam())) GTEST_SKIP() << "LibTorch's product serves here";
  at::manual_seed(3);
  const at::Tensor a = random({333, 700}), b = random({150, 700}).t();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = product(a, b);
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(product(a, b), one));
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(product(a.narrow(0, 0, 128), b), one.narrow(0, 0, 128)));
}

TEST(LinearMap, GradientsAreThoseOfLibTorchsLinear) {
  at::manual_seed(4);
  const at::Tensor x0 = at::randn({5, 40, 96}), w0 = at::randn({72, 96}), b0 = at::randn({72}),
                   weigh = at::randn({5, 40, 72});
  std::vector<at::Tensor> got, want;
  for (const bool ours : {true, false}) {
    const auto leaf = [&](const at::Tensor& t) {
      return (ours ? t.clone() : t.to(at::kDouble)).requires_grad_();
    };
    const at::Tensor x = leaf(x0), w = leaf(w0), b = leaf(b0);
    const at::Tensor y = ours ? linear_map(x, w, b) : at::linear(x, w, b);
    (y * weigh.to(y.scalar_type())).sum().backward();
    (ours ? got : want) = {y.detach(), x.grad(), w.grad(), b.grad()};
  }
  for (size_t i = 0; i < got.size(); ++i)
    expect_near(got[i], want[i], 200, "output " + std::to_string(i));
}

TEST(LinearMap, AFrozenWeightGetsNoGradientAndTheInputStillHasOne) {
  const at::Tensor x = at::randn({80, 64}).requires_grad_(), w = at::randn({64, 64});
  linear_map(x, w).sum().backward();
  EXPECT_FALSE(w.grad().defined());
  EXPECT_TRUE(at::allclose(x.grad(), w.sum(0).expand({80, 64}), 1e-4, 1e-4));
}

}  // namespace
}  // namespace ponder::policy
