#include "rewards/math/real_set.h"

#include <algorithm>

#include "rewards/math/scalar.h"

namespace ponder::rewards::math {
namespace {

constexpr size_t kMaxPieces = 64;
constexpr int kMaxDepth = 20;

bool is_less(Rel rel) {
  return rel == Rel::kLt || rel == Rel::kLe;
}
bool is_greater(Rel rel) {
  return rel == Rel::kGt || rel == Rel::kGe;
}
bool is_strict(Rel rel) {
  return rel == Rel::kLt || rel == Rel::kGt;
}

}  // namespace

Item SetReader::infinity(int sign) {
  const int node = arena.leaf(Op::kInfinity);
  return {sign > 0 ? node : arena.unary(Op::kNeg, node)};
}

bool SetReader::is_empty(const Interval& interval, bool* failed) {
  const int compared = order(arena, interval.low, interval.high, budget);
  if (compared == 2) *failed = true;
  return compared == 1 || (compared == 0 && !(interval.low_closed && interval.high_closed));
}

std::optional<RealSet> SetReader::unite(std::vector<Interval> pieces) {
  bool failed = false;
  std::erase_if(pieces, [&](const Interval& piece) { return is_empty(piece, &failed); });
  if (failed || pieces.size() > kMaxPieces) return std::nullopt;
  for (size_t i = 1; i < pieces.size();
       ++i) {  // insertion sort: `order` may fail, which std::sort does not allow
    for (size_t k = i; k > 0; --k) {
      const int compared = order(arena, pieces[k].low, pieces[k - 1].low, budget);
      if (compared == 2) return std::nullopt;
      const bool before =
          compared < 0 || (compared == 0 && pieces[k].low_closed && !pieces[k - 1].low_closed);
      if (!before) break;
      std::swap(pieces[k], pieces[k - 1]);
    }
  }
  RealSet merged;
  for (const Interval& piece : pieces) {
    if (!merged.empty()) {
      Interval& last = merged.back();
      const int gap = order(arena, last.high, piece.low, budget);
      if (gap == 2) return std::nullopt;
      if (gap > 0 || (gap == 0 && (last.high_closed || piece.low_closed))) {
        const int ends = order(arena, last.high, piece.high, budget);
        if (ends == 2) return std::nullopt;
        if (ends < 0) {
          last.high = piece.high;
          last.high_closed = piece.high_closed;
        } else if (ends == 0) {
          last.high_closed |= piece.high_closed;
        }
        continue;
      }
    }
    merged.push_back(piece);
  }
  return merged;
}

std::optional<RealSet> SetReader::complement(const RealSet& set) {
  std::vector<Interval> pieces;
  Item low = infinity(-1);
  bool low_closed = false;
  for (const Interval& interval : set) {
    pieces.push_back({low, interval.low, low_closed, !interval.low_closed});
    low = interval.high;
    low_closed = !interval.high_closed;
  }
  pieces.push_back({low, infinity(1), low_closed, false});
  for (Interval& piece : pieces) {
    piece.low_closed &= infinity_sign(arena, piece.low.node) == 0;
    piece.high_closed &= infinity_sign(arena, piece.high.node) == 0;
  }
  return unite(std::move(pieces));
}

std::optional<RealSet> SetReader::intersect(const RealSet& left, const RealSet& right) {
  std::vector<Interval> pieces;
  if (left.size() * right.size() > kMaxPieces) return std::nullopt;
  for (const Interval& x : left) {
    for (const Interval& y : right) {
      const int lows = order(arena, x.low, y.low, budget),
                highs = order(arena, x.high, y.high, budget);
      if (lows == 2 || highs == 2) return std::nullopt;
      Interval both;
      both.low = lows > 0 ? x.low : y.low;
      both.low_closed = lows == 0  ? x.low_closed && y.low_closed
                        : lows > 0 ? x.low_closed
                                   : y.low_closed;
      both.high = highs < 0 ? x.high : y.high;
      both.high_closed = highs == 0  ? x.high_closed && y.high_closed
                         : highs < 0 ? x.high_closed
                                     : y.high_closed;
      pieces.push_back(both);
    }
  }
  return unite(std::move(pieces));
}

std::optional<RealSet> SetReader::combine(Op op, const RealSet& left, const RealSet& right) {
  if (op == Op::kUnion) {
    std::vector<Interval> pieces = left;
    pieces.insert(pieces.end(), right.begin(), right.end());
    return unite(std::move(pieces));
  }
  if (op == Op::kIntersection) return intersect(left, right);
  const auto outside = complement(right);
  return outside ? intersect(left, *outside) : std::nullopt;
}

std::optional<RealSet> SetReader::read_points(const Node& node) {
  std::vector<Interval> pieces;
  for (int i = 0; i < node.count; ++i) {
    const int kid = arena.kid(node, i);
    if (arena[kid].flags & (kHasContainer | kHasSymbol | kHasInfinity)) return std::nullopt;
    for (int sign : {1, -1}) {
      pieces.push_back({{kid, sign}, {kid, sign}, true, true});
      if (!(arena[kid].flags & kHasPlusMinus)) break;
    }
  }
  return pieces.size() > kMaxPieces ? std::nullopt : unite(std::move(pieces));
}

// a < x <= b, x > a, x = a, x != a, and the chains that say the same backwards.
std::optional<RealSet> SetReader::read_relation(const Node& node, int* unknown) {
  if (node.count != 2 && node.count != 3) return std::nullopt;
  if (arena.rel(node, 0) == Rel::kIn && node.count == 2) {
    const Op op = arena[arena.kid(node, 0)].op;
    if (op != Op::kSymbol && op != Op::kApply) return std::nullopt;
    *unknown = arena.kid(node, 0);
    return read(arena.kid(node, 1), unknown);
  }
  int variable = -1;
  for (int i = 0; i < node.count; ++i) {
    const int side = arena.kid(node, i);
    if (arena[side].flags & kCongruent) return std::nullopt;
    const bool constant = !(arena[side].flags & (kHasSymbol | kHasContainer));
    if (constant) continue;
    const bool plain = arena[side].op == Op::kSymbol || arena[side].op == Op::kApply;
    if (variable >= 0 || !plain) return std::nullopt;
    variable = i;
  }
  if (variable < 0 || (node.count == 3 && variable != 1)) return std::nullopt;
  *unknown = arena.kid(node, variable);
  Interval interval{infinity(-1), infinity(1)};
  for (int i = 0; i + 1 < node.count; ++i) {
    const Rel rel = arena.rel(node, i);
    const Item left{arena.kid(node, i)}, right{arena.kid(node, i + 1)};
    if (rel == Rel::kEq || rel == Rel::kNe) {
      if (node.count != 2) return std::nullopt;
      const Item point = variable == 0 ? right : left;
      const RealSet single{{point, point, true, true}};
      return rel == Rel::kEq ? std::optional(single) : complement(single);
    }
    if (!is_less(rel) && !is_greater(rel)) return std::nullopt;
    const bool variable_left = variable == i;
    const bool bounds_above = variable_left == is_less(rel);
    const Item bound = variable_left ? right : left;
    if (bounds_above) {
      interval.high = bound;
      interval.high_closed = !is_strict(rel) && infinity_sign(arena, bound.node) == 0;
    } else {
      interval.low = bound;
      interval.low_closed = !is_strict(rel) && infinity_sign(arena, bound.node) == 0;
    }
  }
  return unite({interval});
}

std::optional<RealSet> SetReader::read(int index, int* unknown) {
  const Node node = arena[index];
  if (depth > kMaxDepth || arena.full()) return std::nullopt;
  ++depth;
  std::optional<RealSet> result;
  switch (node.op) {
    case Op::kTuple:
      if (node.count == 2) {
        const Item low{arena.kid(node, 0)}, high{arena.kid(node, 1)};
        if (order(arena, low, high, budget) < 0) {
          const auto closed = [&](char bracket, Item end) {
            return (bracket == '[' || bracket == ']') && infinity_sign(arena, end.node) == 0;
          };
          result = unite({{low, high, closed(node.open, low), closed(node.close, high)}});
        }
      }
      break;
    case Op::kUnion:
    case Op::kIntersection:
    case Op::kDifference: {
      const auto left = read(arena.kid(node, 0), unknown);
      const auto right = left ? read(arena.kid(node, 1), unknown) : std::nullopt;
      if (right) result = combine(node.op, *left, *right);
      break;
    }
    case Op::kNamedSet:
      if (arena.name(node) == "R") result = RealSet{{infinity(-1), infinity(1)}};
      break;
    case Op::kEmptySet:
      result = RealSet{};
      break;
    case Op::kSet:
      result = read_points(node);
      break;
    case Op::kRelation:
      result = read_relation(node, unknown);
      break;
    case Op::kList: {  // "x < 1 or x > 5"; "x > 1, x < 5" where both can hold
      std::vector<Interval> pieces;
      std::optional<RealSet> common = RealSet{{infinity(-1), infinity(1)}};
      if (node.value == kOr || node.value == kLogicalOr) common = RealSet{};
      for (int i = 0; i < node.count; ++i) {
        const int kid = arena.kid(node, i);
        if (arena[kid].op != Op::kRelation && arena[kid].op != Op::kTuple) return std::nullopt;
        int other = -1;
        const auto part = read(kid, &other);
        if (!part || part->size() > kMaxPieces) return std::nullopt;
        if (other >= 0 && *unknown >= 0 && !same_structure(arena, other, *unknown))
          return std::nullopt;
        if (other >= 0) *unknown = other;
        if (arena[kid].op == Op::kTuple) common = RealSet{};
        if (common) common = intersect(*common, *part);
        pieces.insert(pieces.end(), part->begin(), part->end());
        if (pieces.size() > kMaxPieces) return std::nullopt;
      }
      result = common && !common->empty() ? common : unite(std::move(pieces));
      break;
    }
    default:
      break;
  }
  --depth;
  return result;
}

bool SetReader::same(const RealSet& left, const RealSet& right) {
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    if (left[i].low_closed != right[i].low_closed || left[i].high_closed != right[i].high_closed)
      return false;
    if (order(arena, left[i].low, right[i].low, budget) != 0) return false;
    if (order(arena, left[i].high, right[i].high, budget) != 0) return false;
  }
  return true;
}

}  // namespace ponder::rewards::math
