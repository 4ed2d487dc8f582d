#include "rewards/math/expr.h"

#include <algorithm>

namespace ponder::rewards::math {

namespace {

uint16_t flags_of(Op op) {
  switch (op) {
    case Op::kSymbol:
      return kHasSymbol;
    case Op::kImaginary:
      return kHasImaginary;
    case Op::kInfinity:
      return kHasInfinity;
    case Op::kDegree:
      return kHasDegree;
    case Op::kPlusMinus:
    case Op::kMinusPlus:
      return kHasPlusMinus;
    case Op::kApply:
    case Op::kOpaque:
    case Op::kCross:
      return kHasSymbol | kHasOpaque;
    case Op::kText:
    case Op::kEllipsis:
    case Op::kEmptySet:
    case Op::kNamedSet:
      return kHasContainer;
    default:
      return op >= Op::kTuple ? kHasContainer : 0;
  }
}

}  // namespace

int Arena::add(Node node) {
  const int index = size();
  int begin = index;
  uint16_t flags = (node.flags & kOwnFlags) | flags_of(node.op);
  auto take = [&](int child) {
    begin = std::min(begin, nodes_[child].begin);
    flags |= nodes_[child].flags & ~kOwnFlags;
  };
  if (node.a >= 0) take(node.a);
  if (node.b >= 0) take(node.b);
  for (int i = 0; i < node.count; ++i) take(kids_[node.first + i]);
  node.begin = begin;
  node.flags = flags;
  nodes_.push_back(node);
  return index;
}

int Arena::number(int64_t value) {
  return add({.op = Op::kNumber, .flags = kSmallInt, .value = value});
}

int Arena::number(const mpq_class& value, int decimals) {
  const uint16_t decimal = decimals > 0 ? kDecimal : 0;
  if (value.get_den() == 1 && value.get_num().fits_slong_p()) {
    return add({.op = Op::kNumber,
                .flags = static_cast<uint16_t>(kSmallInt | decimal),
                .value = value.get_num().get_si(),
                .digits = decimals});
  }
  rationals_.push_back(value);
  return add({.op = Op::kNumber,
              .flags = decimal,
              .value = static_cast<int64_t>(rationals_.size()) - 1,
              .digits = decimals});
}

int Arena::leaf(Op op, uint16_t flags) {
  return add({.op = op, .flags = flags});
}

int Arena::intern(std::string_view name) {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found != names_.end()) return static_cast<int>(found - names_.begin());
  names_.emplace_back(name);
  return static_cast<int>(names_.size()) - 1;
}

int Arena::named(Op op, std::string_view name, uint16_t flags) {
  return add({.op = op, .flags = flags, .value = intern(name)});
}

int Arena::unary(Op op, int a, uint16_t own) {
  const bool trigonometric = op >= Op::kSin && op <= Op::kCsc;
  if (trigonometric && (nodes_[a].flags & kHasDegree)) own |= kAngleInDegrees;
  const int made = add({.op = op, .flags = own, .a = a});
  if (trigonometric) nodes_[made].flags &= ~kHasDegree;
  return made;
}

int Arena::binary(Op op, int a, int b) {
  return add({.op = op, .a = a, .b = b});
}

int Arena::with_kids(Op op, const std::vector<int>& kids, int64_t value) {
  Node node{.op = op,
            .first = static_cast<int32_t>(kids_.size()),
            .count = static_cast<int32_t>(kids.size()),
            .value = value};
  kids_.insert(kids_.end(), kids.begin(), kids.end());
  return add(node);
}

int Arena::relation(const std::vector<int>& sides, const std::vector<Rel>& signs) {
  const int64_t first_sign = static_cast<int64_t>(rels_.size());
  rels_.insert(rels_.end(), signs.begin(), signs.end());
  return with_kids(Op::kRelation, sides, first_sign);
}

// Copies one node of a subtree that moves up by `offset`; its children have been copied before.
int Arena::copy(int index, int offset) {
  Node node = nodes_[index];
  if (node.a >= 0) node.a += offset;
  if (node.b >= 0) node.b += offset;
  if (node.count > 0) {
    const int first = static_cast<int>(kids_.size());
    for (int k = 0; k < node.count; ++k) {
      const int kid = kids_[node.first + k] + offset;
      kids_.push_back(kid);
    }
    node.first = first;
  }
  return add(node);
}

int Arena::substitute(int root, int64_t name, int64_t value) {
  const int begin = nodes_[root].begin;
  const int offset = size() - begin;
  for (int i = begin; i <= root; ++i) {
    if (nodes_[i].op == Op::kSymbol && nodes_[i].value == name) {
      number(value);
    } else {
      copy(i, offset);
    }
  }
  return root + offset;
}

int Arena::rename(int root, const std::vector<int64_t>& from, const std::vector<int64_t>& to) {
  const int begin = nodes_[root].begin;
  const int offset = size() - begin;
  for (int i = begin; i <= root; ++i) {
    const int made = copy(i, offset);
    if (nodes_[made].op != Op::kSymbol) continue;
    const auto found = std::find(from.begin(), from.end(), nodes_[made].value);
    if (found != from.end()) nodes_[made].value = to[static_cast<size_t>(found - from.begin())];
  }
  return root + offset;
}

mpq_class Arena::rational(const Node& node) const {
  if (node.flags & kSmallInt) return mpq_class(static_cast<long>(node.value));
  return rationals_[node.value];
}

bool Arena::is_integer(int index, int64_t* value) const {
  const Node& node = nodes_[index];
  if (node.op == Op::kNeg && is_integer(node.a, value)) {
    *value = -*value;
    return true;
  }
  if (node.op != Op::kNumber || !(node.flags & kSmallInt) || (node.flags & kDecimal)) return false;
  if (node.value <= INT64_MIN + 1) return false;
  *value = node.value;
  return true;
}

bool same_structure(const Arena& arena, int a, int b) {
  const int left_begin = arena[a].begin, right_begin = arena[b].begin;
  if (a - left_begin != b - right_begin) return false;
  for (int i = 0; i <= a - left_begin; ++i) {
    const Node& x = arena[left_begin + i];
    const Node& y = arena[right_begin + i];
    auto offset_differs = [&](int child, int other) {
      if (child < 0 || other < 0) return child != other;
      return child - left_begin != other - right_begin;
    };
    if (x.op != y.op || x.open != y.open || x.close != y.close || x.count != y.count) return false;
    if (offset_differs(x.a, y.a) || offset_differs(x.b, y.b)) return false;
    for (int k = 0; k < x.count; ++k) {
      if (offset_differs(arena.kid(x, k), arena.kid(y, k))) return false;
    }
    switch (x.op) {
      case Op::kNumber:
        if (arena.rational(x) != arena.rational(y)) return false;
        break;
      case Op::kSymbol:
      case Op::kText:
      case Op::kNamedSet:
      case Op::kApply:
      case Op::kOpaque:
        if (arena.name(x) != arena.name(y)) return false;
        break;
      case Op::kMatrix:
      case Op::kBaseN:
      case Op::kList:
        if (x.value != y.value) return false;
        break;
      case Op::kRelation:
        for (int k = 0; k + 1 < x.count; ++k) {
          if (arena.rel(x, k) != arena.rel(y, k)) return false;
        }
        break;
      default:
        break;
    }
  }
  return true;
}

}  // namespace ponder::rewards::math
