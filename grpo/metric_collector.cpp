#include "grpo/metric_collector.h"

#include <ATen/ATen.h>

#include "grpo/segments.h"

namespace ponder::grpo {

using Kind = MetricPart::Kind;

void MetricCollector::add(const std::string& name, Kind kind, const at::Tensor& value,
                          const at::Tensor& weight) {
  names_.push_back(name);
  kinds_.push_back(kind);
  values_.push_back(value.detach().to(at::kDouble));
  weights_.push_back(weight.detach().to(at::kDouble));
}

void MetricCollector::mean(const std::string& name, const at::Tensor& values) {
  const at::Tensor sum = values.detach().sum(at::kDouble);
  add(name, Kind::kMean, sum, at::full_like(sum, static_cast<double>(values.numel())));
}

void MetricCollector::masked_mean(const std::string& name, const at::Tensor& values,
                                  const at::Tensor& mask) {
  const at::Tensor kept = values.detach().masked_fill(mask.logical_not(), 0);
  add(name, Kind::kMean, kept.sum(at::kDouble), mask.sum());
}

void MetricCollector::sum(const std::string& name, const at::Tensor& value) {
  add(name, Kind::kSum, value, at::zeros_like(value));
}

void MetricCollector::min(const std::string& name, const at::Tensor& values) {
  if (values.numel() > 0) add(name, Kind::kMin, values.min(), at::zeros_like(values.min()));
}

void MetricCollector::max(const std::string& name, const at::Tensor& values) {
  if (values.numel() > 0) add(name, Kind::kMax, values.max(), at::zeros_like(values.max()));
}

void MetricCollector::clip_ratios(const at::Tensor& low, const at::Tensor& high,
                                  const Segments& segments, bool per_sequence) {
  const at::Tensor low_share = segments.mean(low.to(at::kDouble)),
                   high_share = segments.mean(high.to(at::kDouble));
  const at::Tensor region = low.logical_or(high);
  mean("clip_ratio/low_mean", per_sequence ? low_share : low);
  mean("clip_ratio/high_mean", per_sequence ? high_share : high);
  mean("clip_ratio/region_mean", per_sequence ? segments.mean(region.to(at::kDouble)) : region);
  const at::Tensor filled = segments.empty().logical_not();
  min("clip_ratio/low_min", per_sequence ? low_share : low_share.masked_select(filled));
  max("clip_ratio/high_max", per_sequence ? high_share : high_share.masked_select(filled));
}

MetricParts MetricCollector::read() const {
  MetricParts parts;
  if (names_.empty()) return parts;
  const at::Tensor values = at::stack(values_).cpu(), weights = at::stack(weights_).cpu();
  for (size_t i = 0; i < names_.size(); ++i) {
    parts[names_[i]] = {kinds_[i], values.const_data_ptr<double>()[i],
                        weights.const_data_ptr<double>()[i]};
  }
  return parts;
}

}  // namespace ponder::grpo
