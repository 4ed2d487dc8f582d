// Subsets of the real line as unions of intervals with constant ends, so that an interval, a union,
// a set difference and an inequality can be seen to be the same set.
#pragma once

#include <optional>
#include <vector>

#include "rewards/math/evaluate.h"

namespace ponder::rewards::math {

struct Interval {
  Item low, high;
  bool low_closed = false, high_closed = false;
};

// Sorted, disjoint, and no two touch.
using RealSet = std::vector<Interval>;

struct SetReader {
  Arena& arena;
  Budget& budget;
  int depth = 0;

  // A bracketed pair, a union, intersection or difference, R, the empty set, a set of numbers, or a
  // relation of one unknown with constants (the unknown goes into `unknown`: a node, or -1);
  // nothing if it is none of these.
  std::optional<RealSet> read(int node, int* unknown);

  bool same(const RealSet& left, const RealSet& right);

 private:
  std::optional<RealSet> read_relation(const Node& node, int* unknown);
  std::optional<RealSet> read_points(const Node& node);
  std::optional<RealSet> combine(Op op, const RealSet& left, const RealSet& right);
  std::optional<RealSet> complement(const RealSet& set);
  std::optional<RealSet> intersect(const RealSet& left, const RealSet& right);
  std::optional<RealSet> unite(std::vector<Interval> pieces);
  bool is_empty(const Interval& interval, bool* failed);
  Item infinity(int sign);
};

}  // namespace ponder::rewards::math
