// Which curves a report draws: metrics -> charts, as JSON for the page's script. Every metric of a
// run lands in a chart: those with a name of their own in the table of report_charts.cpp, all
// others in a small chart each. Knows no HTML.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "recipes/run_data.h"

namespace ponder::recipes {

// One curve, thinned for the eye.
struct Curve {
  std::vector<int64_t> steps;  // [points], ascending; of a bucket its last step
  std::vector<double>
      values;  // [points] the bucket's mean over its finite values; NaN where it has none
  std::vector<double> low;   // [points] or empty: the lower edge of the band
  std::vector<double> high;  // [points] or empty: its upper edge
};

// At most `points_max` points: consecutive points are averaged in buckets of equal count. Without a
// band of its own a thinned curve gets one, from the least to the greatest value of each bucket, so
// that no spike is lost.
Curve thin_out(const Curve& curve, size_t points_max);

// The charts of one run, or of several overlaid. A chart is
//   {"title", "hint", "format": percent|seconds|count|number, "kind": line|stack, "size":
//   large|medium|small, "from_zero",
//    "bucket", "num_not_finite", "series": [{"label", "metric"?, "run", "slot", "is_dotted",
//    "steps", "values", "low"?, "high"?}]}
// with null for values that are not finite; "bucket" is how many steps a point stands for. Charts
// without a point are left out. With several runs each metric has a chart of its own, with one
// series a run and no bands. REQUIRES: runs is not empty.
nlohmann::json make_charts(std::span<const RunData> runs);

}  // namespace ponder::recipes
