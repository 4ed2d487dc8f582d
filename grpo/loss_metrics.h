// Metrics of one loss call, kept so that those of micro-batches and workers merge into exactly the
// whole's. Knows no tensor.
#pragma once

#include <map>
#include <span>
#include <string>

namespace ponder::grpo {

// A mean with its weight, a sum, or an extreme.
struct MetricPart {
  enum class Kind { kMean, kSum, kMin, kMax };
  Kind kind = Kind::kMean;
  double value = 0;   // kMean, kSum: the sum; else the extreme
  double weight = 0;  // kMean: what the sum is divided by; else unused
};

using MetricParts = std::map<std::string, MetricPart>;

// Adds sums and weights, keeps the smaller or the greater extreme. Throws InternalError if a name's
// kinds differ.
MetricParts merge_metrics(std::span<const MetricParts> parts);

// The numbers: sum / weight (0 for weight 0), extremes as they are. Extremes that were never seen
// are left out.
std::map<std::string, double> metric_values(const MetricParts& parts);

}  // namespace ponder::grpo
