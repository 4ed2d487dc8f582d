// The parts of the report's page, from recipes/report/; the build makes the source that defines
// them.
#pragma once

#include <string_view>

namespace ponder::recipes::assets {

extern const std::string_view
    kPage;  // page.html: the frame, with {{title}}, {{style}}, {{data}} and {{script}}
extern const std::string_view kStyle;  // style.css
extern const std::string_view
    kScripts;  // dom.js, charts.js, completions.js, main.js, in this order

}  // namespace ponder::recipes::assets
