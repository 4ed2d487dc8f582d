#include "rewards/math/compare.h"

#include <algorithm>
#include <vector>

#include "rewards/math/matrix.h"
#include "rewards/math/real_set.h"
#include "rewards/math/scalar.h"

namespace ponder::rewards::math {
namespace {

constexpr int kMaxDepth = 40;
constexpr size_t kMaxUnordered = 64;

class Comparison {
 public:
  Comparison(Arena& arena, const MathOptions& options, Budget& budget)
      : arena_(arena), options_(options), budget_(budget) {}

  bool same(Item gold, Item answer);

 private:
  const Node& at(Item item) const { return arena_[item.node]; }
  Item kid(Item item, int i) const { return {arena_.kid(at(item), i), item.sign}; }

  bool is_collection(Item item) const;
  bool has_both_signs(int index) const;
  std::vector<Item> members(Item item) const;
  bool same_collections(Item gold, Item answer);
  bool same_ordered(const std::vector<Item>& gold, const std::vector<Item>& answer);
  bool same_unordered(Item gold, Item answer);
  bool same_tuples(Item gold, Item answer);
  bool same_matrices(int gold, int answer);
  bool same_ratios(Item gold, Item answer);
  bool same_sets(Item gold, Item answer, bool* decided);
  bool same_relations(Item gold, Item answer);
  bool same_equations(Item gold, Item answer);
  bool same_inequalities(Item gold, Item answer);
  bool same_numbers(Item gold, Item answer);
  bool same_label(int gold, int answer);
  bool is_label(int index, int depth = 0) const;
  bool split(Item relation, int* label, Item* value) const;
  int difference(Item relation);

  Arena& arena_;
  const MathOptions& options_;
  Budget& budget_;
  int depth_ = 0;
};

bool Comparison::is_collection(Item item) const {
  const Node& node = at(item);
  if (node.op == Op::kList || node.op == Op::kSet) return true;
  return item.sign == 0 && has_both_signs(item.node);
}

// A number with \pm in it, or a tuple with one such coordinate: it stands for two.
bool Comparison::has_both_signs(int index) const {
  const Node& node = arena_[index];
  if (!(node.flags & kHasPlusMinus)) return false;
  if (node.op != Op::kTuple) return !(node.flags & kHasContainer);
  int coordinates = 0;
  for (int i = 0; i < node.count; ++i) coordinates += has_both_signs(arena_.kid(node, i)) ? 1 : 0;
  return coordinates == 1;
}

std::vector<Item> Comparison::members(Item item) const {
  std::vector<Item> found;
  const auto expand = [&](int index) {
    const bool both = item.sign == 0 && has_both_signs(index);
    found.push_back({index, both ? 1 : item.sign});
    if (both) found.push_back({index, -1});
  };
  const Node& node = at(item);
  if (node.op == Op::kList || node.op == Op::kSet) {
    for (int i = 0; i < node.count; ++i) expand(arena_.kid(node, i));
  } else {
    expand(item.node);
  }
  return found;
}

bool Comparison::same_ordered(const std::vector<Item>& gold, const std::vector<Item>& answer) {
  if (gold.size() != answer.size()) return false;
  for (size_t i = 0; i < gold.size(); ++i) {
    if (!same(gold[i], answer[i])) return false;
  }
  return true;
}

// In any order. {1, 1} is the set {1} and "1 or 1" is 1, but the list 1, 1 says something else.
bool Comparison::same_unordered(Item gold, Item answer) {
  const auto is_list = [&](Item item) {
    const Node& node = at(item);
    return node.op == Op::kList && node.value != kOr && node.value != kLogicalOr;
  };
  const bool sets = !is_list(gold) && !is_list(answer);
  const std::vector<Item> wanted = members(gold), given = members(answer);
  if (!sets && wanted.size() != given.size()) return false;
  if (wanted.size() > kMaxUnordered || given.size() > kMaxUnordered)
    return same_ordered(wanted, given);
  std::vector<char> used(given.size(), 0);
  for (const Item& one : wanted) {
    bool found = false;
    for (size_t i = 0; i < given.size() && (sets || !found); ++i) {
      if ((used[i] && (found || !sets)) || !same(one, given[i])) continue;
      used[i] = 1;
      found = true;
    }
    if (!found) return false;
  }
  return std::all_of(used.begin(), used.end(), [](char c) { return c != 0; });
}

bool Comparison::same_collections(Item gold, Item answer) {
  const auto tuple = [&](Item item) { return at(item).op == Op::kTuple && !is_collection(item); };
  if (tuple(gold) || tuple(answer)) {
    // A list without brackets is read as the tuple if the order is the same; a set only where that
    // is allowed.
    const bool set = at(gold).op == Op::kSet || at(answer).op == Op::kSet;
    const Node& brackets = tuple(gold) ? at(gold) : at(answer);
    const bool interval = brackets.count == 2 && (brackets.open == '[' || brackets.close == ']');
    if (interval || (set && options_.strict)) return false;
    const auto parts = [&](Item item) {
      std::vector<Item> found;
      for (int i = 0; i < at(item).count; ++i) found.push_back(kid(item, i));
      return found;
    };
    return at(gold).count > 1 && same_ordered(parts(gold), parts(answer));
  }
  return same_unordered(gold, answer);
}

bool Comparison::same_tuples(Item gold, Item answer) {
  const Node x = at(gold), y = at(answer);  // copies: the arena grows below
  if (x.count != y.count) return false;
  if (x.count == 2 && (x.open != y.open || x.close != y.close)) return false;
  for (int i = 0; i < x.count; ++i) {
    if (!same(kid(gold, i), kid(answer, i))) return false;
  }
  return true;
}

bool Comparison::same_matrices(int gold, int answer) {
  const Node x = arena_[gold], y = arena_[answer];
  if (x.count != y.count || x.value != y.value) return false;
  for (int i = 0; i < x.count; ++i) {
    if (!same({arena_.kid(x, i)}, {arena_.kid(y, i)})) return false;
  }
  return true;
}

// 1:2 = 2:4, but 2:15 and 4:30 are times of day.
bool Comparison::same_ratios(Item gold, Item answer) {
  const int count = at(gold).count;
  if (count != at(answer).count) return false;
  bool equal = true, clock = true;
  for (int i = 0; i < count; ++i) equal = equal && same(kid(gold, i), kid(answer, i));
  if (equal) return true;
  for (const Item& side : {gold, answer}) {
    int64_t minutes = 0;
    clock = clock && arena_.is_integer(kid(side, count - 1).node, &minutes) && minutes < 60 &&
            (minutes > 9 || minutes == 0);
  }
  if (clock) return false;
  for (int i = 0; i + 1 < count; ++i) {
    const int left = arena_.binary(Op::kDiv, kid(gold, i).node, kid(gold, i + 1).node);
    const int right = arena_.binary(Op::kDiv, kid(answer, i).node, kid(answer, i + 1).node);
    if (same_scalar(arena_, {left}, {right}, budget_) != Same::kYes) return false;
  }
  return true;
}

// Something that names a value: x, x_1, f(x), (x, y), AB, P(A), a word, a ratio of such.
bool Comparison::is_label(int index, int depth) const {
  const Node& node = arena_[index];
  switch (node.op) {
    case Op::kSymbol:
    case Op::kText:
    case Op::kApply:
    case Op::kEuler:
    case Op::kImaginary:
      return true;
    case Op::kMul:
      return depth < kMaxDepth && is_label(node.a, depth + 1) && is_label(node.b, depth + 1);
    case Op::kAbs:
      return depth < kMaxDepth && is_label(node.a, depth + 1);
    case Op::kTuple:
    case Op::kRatio:
    case Op::kList:
      for (int i = 0; i < node.count; ++i) {
        if (depth >= kMaxDepth || !is_label(arena_.kid(node, i), depth + 1)) return false;
      }
      return true;
    default:
      return false;
  }
}

// x = 5, 5 = x, x = 2 + 3 = 5, 2 + 3 = 5, x \in S: the value that is stated.
bool Comparison::split(Item relation, int* label, Item* value) const {
  const Node& node = at(relation);
  const int last = node.count - 1;
  if (node.count == 2 && arena_.rel(node, 0) == Rel::kIn) {
    *label = kid(relation, 0).node;
    *value = kid(relation, 1);
    return is_label(*label);
  }
  for (int i = 0; i < last; ++i) {
    if (arena_.rel(node, i) != Rel::kEq) return false;
  }
  const bool constant_first = !(arena_[kid(relation, 0).node].flags & (kHasSymbol | kHasContainer));
  if (is_label(kid(relation, 0).node)) {
    *label = kid(relation, 0).node;
    *value = kid(relation, last);
    return true;
  }
  if (is_label(kid(relation, last).node)) {
    *label = kid(relation, last).node;
    *value = kid(relation, 0);
    return true;
  }
  *label = -1;
  *value = kid(relation, last);
  return constant_first && !(at(*value).flags & kHasSymbol);
}

// f(x) = .. and y = .. both name the same curve; x = 3 and n = 3 are different statements.
bool Comparison::same_label(int gold, int answer) {
  if (gold < 0 || answer < 0 || same_structure(arena_, gold, answer)) return true;
  const auto wordy = [&](int label) {
    return arena_[label].op == Op::kText || arena_[label].op == Op::kMul;
  };
  const auto curve = [&](int label) {
    const Node& node = arena_[label];
    return node.op == Op::kApply || (node.op == Op::kSymbol && arena_.name(node) == "y");
  };
  return wordy(gold) || wordy(answer) || (curve(gold) && curve(answer));
}

// left - right of a relation of two sides.
int Comparison::difference(Item relation) {
  return arena_.binary(Op::kSub, kid(relation, 0).node, kid(relation, at(relation).count - 1).node);
}

bool Comparison::same_equations(Item gold, Item answer) {
  int gold_label = -1, answer_label = -1;
  Item gold_value, answer_value;
  const bool gold_states = split(gold, &gold_label, &gold_value);
  const bool answer_states = split(answer, &answer_label, &answer_value);
  if (gold_states && answer_states && same_label(gold_label, answer_label) &&
      same(gold_value, answer_value))
    return true;
  if ((at(gold).flags | at(answer).flags) & kHasOpaque) return false;
  for (const Item& side : {gold, answer}) {
    for (int i = 0; i < at(side).count; ++i) {
      // A congruence says less than an equation: its difference means nothing.
      if (at(kid(side, i)).flags & (kHasContainer | kCongruent)) return false;
    }
  }
  const int left = difference(gold), right = difference(answer);
  if (!(arena_[left].flags & kHasSymbol) || !(arena_[right].flags & kHasSymbol)) return false;
  return constant_sign(arena_, {arena_.binary(Op::kDiv, left, right), gold.sign}, budget_) != 0;
}

bool Comparison::same_inequalities(Item gold, Item answer) {
  const Node x = at(gold), y = at(answer);
  if (x.count != y.count) return false;
  const auto flip = [](Rel rel) {
    switch (rel) {
      case Rel::kLt:
        return Rel::kGt;
      case Rel::kGt:
        return Rel::kLt;
      case Rel::kLe:
        return Rel::kGe;
      case Rel::kGe:
        return Rel::kLe;
      default:
        return rel;
    }
  };
  for (const bool backwards : {false, true}) {
    bool equal = true;
    for (int i = 0; equal && i < x.count; ++i) {
      const int other = backwards ? x.count - 1 - i : i;
      if (i + 1 < x.count) {
        const Rel sign = arena_.rel(y, backwards ? x.count - 2 - i : i);
        equal = arena_.rel(x, i) == (backwards ? flip(sign) : sign) && sign != Rel::kOther;
      }
      equal = equal && same(kid(gold, i), kid(answer, other));
    }
    if (equal) return true;
  }
  if (x.count != 2) return false;
  const Rel wanted = arena_.rel(x, 0), given = arena_.rel(y, 0);
  const bool ordered = wanted != Rel::kNe && wanted != Rel::kIn && wanted != Rel::kOther;
  if (given != wanted && (!ordered || flip(given) != wanted)) return false;
  for (const Item& side : {kid(gold, 0), kid(gold, 1), kid(answer, 0), kid(answer, 1)}) {
    if (at(side).flags & (kHasContainer | kHasInfinity)) return false;
  }
  const int ratio = arena_.binary(Op::kDiv, difference(gold), difference(answer));
  const int sign = constant_sign(arena_, {ratio}, budget_);
  if (wanted == Rel::kNe) return given == Rel::kNe && sign != 0;
  return ordered && sign == (given == wanted ? 1 : -1);
}

bool Comparison::same_relations(Item gold, Item answer) {
  const auto equation = [&](Item item) {
    for (int i = 0; i + 1 < at(item).count; ++i) {
      if (arena_.rel(at(item), i) != Rel::kEq) return false;
    }
    return true;
  };
  return equation(gold) && equation(answer) ? same_equations(gold, answer)
                                            : same_inequalities(gold, answer);
}

bool Comparison::same_sets(Item gold, Item answer, bool* decided) {
  const auto is_set = [&](Op op) {
    return op == Op::kUnion || op == Op::kIntersection || op == Op::kDifference ||
           op == Op::kNamedSet || op == Op::kEmptySet || op == Op::kRelation;
  };
  const auto set_like = [&](Op op) {
    return is_set(op) || op == Op::kTuple || op == Op::kSet || op == Op::kList;
  };
  const Op x = at(gold).op, y = at(answer).op;
  // "x > 1 and x < 3" is a set as well.
  const auto statements = [&](Item item) {
    if (at(item).op != Op::kList) return false;
    for (int i = 0; i < at(item).count; ++i) {
      if (at(kid(item, i)).op != Op::kRelation) return false;
    }
    return true;
  };
  const bool sets = is_set(x) || is_set(y) || statements(gold) || statements(answer);
  if (!sets || !set_like(x) || !set_like(y)) return false;
  const auto states_set = [&](Item item) {
    if (statements(item)) return false;
    return at(item).op != Op::kRelation || arena_.rel(at(item), 0) == Rel::kIn;
  };
  const bool relation_for_set = states_set(gold) && !states_set(answer) && x != Op::kRelation;
  if (relation_for_set && !options_.allow_set_relation_comp) return false;
  SetReader reader{arena_, budget_};
  int gold_unknown = -1, answer_unknown = -1;
  const auto left = reader.read(gold.node, &gold_unknown);
  const auto right = left ? reader.read(answer.node, &answer_unknown) : std::nullopt;
  if (!left || !right) return false;
  *decided = true;
  const bool named_alike = gold_unknown < 0 || answer_unknown < 0 ||
                           same_structure(arena_, gold_unknown, answer_unknown);
  return named_alike && reader.same(*left, *right);
}

bool Comparison::same_numbers(Item gold, Item answer) {
  if (same_scalar(arena_, gold, answer, budget_) == Same::kYes) return true;
  const auto percent = [&](Item item) {
    return at(item).op == Op::kPercent ||
           (at(item).op == Op::kNeg && arena_[at(item).a].op == Op::kPercent);
  };
  if (options_.percent_equals_decimal && percent(gold) != percent(answer)) {
    // 28% is 28 as well as 0.28.
    Item& marked = percent(gold) ? gold : answer;
    Item& plain = percent(gold) ? answer : gold;
    const bool negative = at(marked).op == Op::kNeg;
    const int inside = negative ? arena_[at(marked).a].a : at(marked).a;
    const Item bare{negative ? arena_.unary(Op::kNeg, inside) : inside, marked.sign};
    return same_scalar(arena_, bare, plain, budget_) == Same::kYes ||
           rounds_to(arena_, bare, plain, options_.float_rounding, budget_);
  }
  return rounds_to(arena_, gold, answer, options_.float_rounding, budget_);
}

bool Comparison::same(Item gold, Item answer) {
  if (depth_ > kMaxDepth || !budget_.spend(1) || arena_.full()) return false;
  ++depth_;
  struct Leave {
    int& depth;
    ~Leave() { --depth; }
  } leave{depth_};
  const Op x = at(gold).op, y = at(answer).op;
  if (x == Op::kMod && y == Op::kMod && (at(gold).flags & at(answer).flags & kCongruent) &&
      same_scalar(arena_, {at(gold).b}, {at(answer).b}, budget_) != Same::kYes)
    return false;
  if (!((at(gold).flags | at(answer).flags) & kHasContainer) && !is_collection(gold) &&
      !is_collection(answer)) {
    return same_numbers(gold, answer);
  }
  if (gold.sign == answer.sign && same_structure(arena_, gold.node, answer.node)) return true;
  bool decided = false;
  const bool sets = same_sets(gold, answer, &decided);
  if (decided) return sets;
  const auto logical = [](const Node& node) { return node.op == Op::kList && node.value > kOr; };
  if (logical(at(gold)) && logical(at(answer)) && at(gold).value != at(answer).value) return false;
  if (x == Op::kRelation && y == Op::kRelation) return same_relations(gold, answer);
  if (x == Op::kRelation || y == Op::kRelation) {
    int label = -1;
    Item value;
    const Item& relation = x == Op::kRelation ? gold : answer;
    if (split(relation, &label, &value))
      return x == Op::kRelation ? same(value, answer) : same(gold, value);
    if (!is_collection(x == Op::kRelation ? answer : gold)) return false;
  }
  const auto sequence = [&](Item item) { return is_collection(item) || at(item).op == Op::kTuple; };
  if ((is_collection(gold) && sequence(answer)) || (is_collection(answer) && sequence(gold)))
    return same_collections(gold, answer);
  if (is_collection(gold) || is_collection(answer)) return same_unordered(gold, answer);
  if (x == Op::kTuple && y == Op::kTuple) return same_tuples(gold, answer);
  if (x == Op::kRatio && y == Op::kRatio) return same_ratios(gold, answer);
  if (x == Op::kRatio || y == Op::kRatio) {
    const Item& ratio = x == Op::kRatio ? gold : answer;
    const Item& other = x == Op::kRatio ? answer : gold;
    if (at(ratio).count != 2 || (at(other).flags & kHasContainer)) return false;
    const int quotient = arena_.binary(Op::kDiv, kid(ratio, 0).node, kid(ratio, 1).node);
    return same_numbers({quotient}, other);
  }
  if (x == Op::kBaseN || y == Op::kBaseN) {
    // An answer without a base is read in the gold's; another base, or one where the gold has none,
    // is another answer.
    const int left = x == Op::kBaseN ? kid(gold, 0).node : gold.node;
    const int right = y == Op::kBaseN ? kid(answer, 0).node : answer.node;
    const int64_t base = x == Op::kBaseN ? at(gold).value : 10;
    if (y == Op::kBaseN && at(answer).value != base) return false;
    if (arena_[left].op == Op::kText) return same_structure(arena_, left, right);
    return arena_[left].op == Op::kNumber && arena_[right].op == Op::kNumber &&
           same_scalar(arena_, {left}, {right}, budget_) == Same::kYes;
  }
  const int left = matrix_value(arena_, gold.node), right = matrix_value(arena_, answer.node);
  if (left >= 0 && right >= 0) return same_matrices(left, right);
  const int vector = left >= 0 ? left : right;
  const Item other = left >= 0 ? answer : gold;
  if (vector >= 0 && at(other).op == Op::kTuple && arena_[vector].value == 1 &&
      arena_[vector].count == at(other).count) {
    for (int i = 0; i < at(other).count; ++i) {
      if (!same({arena_.kid(arena_[vector], i)}, kid(other, i))) return false;
    }
    return true;
  }
  return false;
}

}  // namespace

bool same_answer(Arena& arena, int gold, int answer, const MathOptions& options, Budget& budget) {
  return Comparison(arena, options, budget).same({gold}, {answer});
}

}  // namespace ponder::rewards::math
