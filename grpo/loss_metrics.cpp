#include "grpo/loss_metrics.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace ponder::grpo {

MetricParts merge_metrics(std::span<const MetricParts> parts) {
  MetricParts merged;
  for (const MetricParts& one : parts) {
    for (const auto& [name, part] : one) {
      const auto [it, is_new] = merged.emplace(name, part);
      if (is_new) continue;
      MetricPart& sum = it->second;
      PONDER_CHECK(sum.kind == part.kind, "[metrics] '{}' is of two kinds", name);
      switch (part.kind) {
        case MetricPart::Kind::kMean:
        case MetricPart::Kind::kSum:
          sum.value += part.value;
          break;
        case MetricPart::Kind::kMin:
          sum.value = std::min(sum.value, part.value);
          break;
        case MetricPart::Kind::kMax:
          sum.value = std::max(sum.value, part.value);
          break;
      }
      sum.weight += part.weight;
    }
  }
  return merged;
}

std::map<std::string, double> metric_values(const MetricParts& parts) {
  std::map<std::string, double> values;
  for (const auto& [name, part] : parts) {
    if (part.kind == MetricPart::Kind::kMean) {
      values[name] = part.weight > 0 ? part.value / part.weight : 0.0;
    } else if (!std::isinf(part.value)) {
      values[name] = part.value;
    }
  }
  return values;
}

}  // namespace ponder::grpo
