#include "rewards/math/matrix.h"

namespace ponder::rewards::math {
namespace {

constexpr int kMaxDepth = 30;
constexpr int kMaxEntries = 144;

int entrywise(Arena& arena, const Node& left, const Node& right, Op op) {
  if (left.count != right.count || left.value != right.value) return -1;
  std::vector<int> cells;
  for (int i = 0; i < left.count; ++i)
    cells.push_back(arena.binary(op, arena.kid(left, i), arena.kid(right, i)));
  return arena.with_kids(Op::kMatrix, cells, left.value);
}

int scale(Arena& arena, const Node& matrix, int factor, Op op) {
  std::vector<int> cells;
  for (int i = 0; i < matrix.count; ++i)
    cells.push_back(arena.binary(op, arena.kid(matrix, i), factor));
  return arena.with_kids(Op::kMatrix, cells, matrix.value);
}

int multiply(Arena& arena, const Node& left, const Node& right) {
  const int inner = static_cast<int>(left.value), columns = static_cast<int>(right.value);
  if (right.count / columns != inner) return -1;
  std::vector<int> cells;
  for (int row = 0; row < left.count / inner; ++row) {
    for (int column = 0; column < columns; ++column) {
      int total = -1;
      for (int k = 0; k < inner; ++k) {
        const int one = arena.binary(Op::kMul, arena.kid(left, row * inner + k),
                                     arena.kid(right, k * columns + column));
        total = total < 0 ? one : arena.binary(Op::kAdd, total, one);
      }
      cells.push_back(total);
    }
  }
  return arena.with_kids(Op::kMatrix, cells, columns);
}

}  // namespace

int matrix_value(Arena& arena, int index, int depth) {
  const Node node = arena[index];
  if (node.op == Op::kMatrix) return index;
  const bool arithmetic = node.op == Op::kAdd || node.op == Op::kSub || node.op == Op::kMul ||
                          node.op == Op::kDiv || node.op == Op::kNeg;
  if (!arithmetic || !(node.flags & kHasContainer) || depth > kMaxDepth || arena.full()) return -1;
  const bool left_matrix = arena[node.a].flags & kHasContainer;
  const int left = left_matrix ? matrix_value(arena, node.a, depth + 1) : -1;
  if (left_matrix && (left < 0 || arena[left].count > kMaxEntries)) return -1;
  if (node.op == Op::kNeg) return scale(arena, Node(arena[left]), arena.number(-1), Op::kMul);
  const bool right_matrix = arena[node.b].flags & kHasContainer;
  const int right = right_matrix ? matrix_value(arena, node.b, depth + 1) : -1;
  if (right_matrix && (right < 0 || arena[right].count > kMaxEntries)) return -1;
  const bool both = left >= 0 && right >= 0;
  switch (node.op) {
    case Op::kAdd:
    case Op::kSub:
      return both ? entrywise(arena, Node(arena[left]), Node(arena[right]), node.op) : -1;
    case Op::kMul:
      if (both) return multiply(arena, Node(arena[left]), Node(arena[right]));
      return left >= 0 ? scale(arena, Node(arena[left]), node.b, Op::kMul)
                       : scale(arena, Node(arena[right]), node.a, Op::kMul);
    default:
      return left >= 0 && right < 0 ? scale(arena, Node(arena[left]), node.b, Op::kDiv) : -1;
  }
}

}  // namespace ponder::rewards::math
