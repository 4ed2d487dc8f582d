// Collects a loss call's metrics as tensors and reads them from the device once.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "grpo/loss_metrics.h"

namespace ponder::grpo {

class Segments;

class MetricCollector {
 public:
  // The mean of `values` ([n] or [S], any type): its sum, weighing its number of elements.
  void mean(const std::string& name, const at::Tensor& values);
  // The mean of the elements where `mask` (bool, same shape) is true.
  void masked_mean(const std::string& name, const at::Tensor& values, const at::Tensor& mask);
  void sum(const std::string& name, const at::Tensor& value);
  // Of no elements: left out.
  void min(const std::string& name, const at::Tensor& values);
  void max(const std::string& name, const at::Tensor& values);
  // TRL's clip_ratio/*: `low` and `high` are bool [n]. With `per_sequence` (one value a sequence)
  // the means are over sequences, an empty one counting as not clipped; else over tokens. low_min
  // and high_max are over sequences.
  void clip_ratios(const at::Tensor& low, const at::Tensor& high, const Segments& segments,
                   bool per_sequence);

  MetricParts read() const;

 private:
  void add(const std::string& name, MetricPart::Kind kind, const at::Tensor& value,
           const at::Tensor& weight);

  std::vector<std::string> names_;
  std::vector<MetricPart::Kind> kinds_;
  std::vector<at::Tensor> values_, weights_;  // float64 []
};

}  // namespace ponder::grpo
