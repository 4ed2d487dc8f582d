// Builds the page from the data that the report carries.

const data = JSON.parse(document.getElementById("data").textContent);
const isComparison = data.runs.length > 1;

function factList(facts) {
  return html("dl", { class: "facts" }, facts.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
}

// The facts that are the same for every run.
function commonFacts() {
  return data.runs[0].facts.filter(([name, value]) =>
    data.runs.every((run) => run.facts.some(([otherName, otherValue]) => otherName === name && otherValue === value)));
}

function themeButton() {
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  return html("button", { type: "button", class: "theme", "aria-label": "light or dark", title: "light or dark",
    onclick: () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; } }, "◐");
}

function pageHead() {
  return html("header", { class: "page-head" },
    html("div", { class: "title-row" },
      html("div", {}, html("p", { class: "brand" }, isComparison ? "ponder · comparison" : "ponder · run"),
        html("h1", {}, isComparison ? `${data.runs.length} runs` : data.runs[0].name)),
      themeButton()),
    factList(isComparison ? commonFacts() : data.runs[0].facts));
}

// How far `after` is from `before`: points for shares, a factor for the rest.
function change(before, after, format) {
  if (format === "percent") {
    const points = 100 * (after - before);
    return `${points >= 0 ? "+" : MINUS}${Math.abs(points).toFixed(1)} points`;
  }
  if (before > 0 && after > 0) return `×${(after / before).toFixed(2)}`;
  return signed(after - before);
}

// A curve of a few dozen pixels.
function sparkline(metric) {
  const series = data.charts.flatMap((chart) => chart.series).find((s) => s.metric === metric);
  if (!series || series.steps.length < 2) return null;
  const known = series.values.filter((value) => value !== null);
  const low = Math.min(...known);
  const high = Math.max(...known);
  const first = series.steps[0];
  const last = series.steps[series.steps.length - 1];
  const xs = series.steps.map((step) => 2 + (116 * (step - first)) / (last - first));
  const ys = series.values.map((value) => (value === null ? null : 26 - (24 * (value - low)) / (high - low || 1)));
  return svg("svg", { class: "spark", viewBox: "0 0 120 28", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { d: linePath(xs, ys) }));
}

function summaryCard(card) {
  const reading = card.runs[0];
  const isOne = reading.before_step === reading.after_step;
  const isShare = card.format === "percent";
  const tone = isOne || !isShare ? "" : reading.after > reading.before ? "up" : reading.after < reading.before ? "down" : "";
  return html("div", { class: "card", title: card.metric },
    html("h3", {}, card.label),
    html("p", { class: "values" }, isOne ? null : html("span", { class: "before" }, formatValue(reading.before, card.format)),
      isOne ? null : html("span", { class: "arrow" }, "→"), html("span", { class: "after" }, formatValue(reading.after, card.format))),
    html("p", { class: "change" }, isOne ? null : html("b", { class: tone }, change(reading.before, reading.after, card.format)),
      html("span", { class: "muted" }, isOne ? `step ${formatStep(reading.after_step)}` : `step ${formatStep(reading.before_step)}–${formatStep(reading.after_step)}`)),
    sparkline(card.metric));
}

function scrollTable(head, rows) {
  return html("div", { class: "table-scroll" },
    html("table", {}, html("thead", {}, html("tr", {}, head.map((name) => html("th", {}, name)))), html("tbody", {}, rows)));
}

function runName(run, i) {
  return html("th", { scope: "row", style: `--c:${slotColor(i)}` }, html("i", {}), run.name);
}

// One row a run: its facts, then each figure before and after. The best final share of a column stands out.
function finalTable() {
  const common = new Set(commonFacts().map(([name]) => name));
  const names = [...new Set(data.runs.flatMap((run) => run.facts.map(([name]) => name)))].filter((name) => !common.has(name));
  const best = data.summary.map((card) =>
    card.format === "percent" ? Math.max(...card.runs.filter((r) => r).map((r) => r.after)) : null);
  const rows = data.runs.map((run, i) => html("tr", {}, runName(run, i),
    names.map((name) => html("td", {}, (run.facts.find(([other]) => other === name) || ["", "–"])[1])),
    data.summary.map((card, k) => {
      const reading = card.runs[i];
      if (!reading) return html("td", {}, "–");
      return html("td", { class: reading.after === best[k] ? "best" : "" },
        html("span", { class: "muted" }, `${formatValue(reading.before, card.format)} → `), html("b", {}, formatValue(reading.after, card.format)));
    })));
  return html("section", {}, html("h2", {}, "Final table"), scrollTable(["run", ...names, ...data.summary.map((card) => card.label)], rows));
}

function differenceTable() {
  if (!data.differences.length) return null;
  const rows = data.differences.map(({ key, values }) =>
    html("tr", {}, html("th", { scope: "row" }, html("code", {}, key)), values.map((value) => html("td", {}, html("code", {}, value === null ? "–" : value)))));
  return html("section", {}, html("h2", {}, "Where the recipes differ"), scrollTable(["key", ...data.runs.map((run) => run.name)], rows));
}

// One entry a run for all charts; a click switches the run off and on.
function runLegend(hidden, redraw) {
  return html("div", { class: "run-legend" }, data.runs.map((run, i) =>
    html("button", { type: "button", "aria-pressed": "true", style: `--c:${slotColor(i)}`, onclick: (event) => {
      if (!hidden.delete(i)) hidden.add(i);
      event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(i)));
      redraw();
    } }, html("i", {}), run.name)));
}

// What the metrics suggest to look at, in words.
function findingsList() {
  const found = data.runs.flatMap((run) => run.findings.map((text) => (isComparison ? `${run.name}: ${text}` : text)));
  if (!found.length) return null;
  return html("section", { class: "findings" }, html("h2", {}, "Worth a look"), html("ul", {}, found.map((text) => html("li", {}, text))));
}

function thinningNote() {
  const longest = Math.max(...data.charts.map((chart) => chart.bucket));
  if (longest <= 1) return null;
  return html("p", { class: "hint" }, `Long curves are thinned: a point is the mean of up to ${longest} steps${isComparison ? "" : ", the shade around it their range"}.`);
}

function buildPage() {
  const allSteps = data.charts.flatMap((chart) => chart.series.flatMap((s) => [s.steps[0], s.steps[s.steps.length - 1]]));
  const steps = [Math.min(...allSteps), Math.max(...allSteps)];
  const hidden = new Set();
  for (const chart of data.charts) chart.isOverlay = isComparison;
  const charts = data.charts.map((chart) => new Chart(chart, steps, hidden));
  const grid = (size) => charts.filter((c) => c.chart.size === size).map((c) => c.root);
  const others = grid("small");
  const run = data.runs[0];
  const page = [
    pageHead(),
    isComparison ? runLegend(hidden, () => charts.forEach((chart) => chart.draw())) : null,
    isComparison || !data.summary.length ? null : html("div", { class: "cards" }, data.summary.map(summaryCard)),
    findingsList(),
    isComparison ? finalTable() : null,
    isComparison ? differenceTable() : null,
    charts.length ? html("section", {}, html("h2", {}, "Curves"), thinningNote(),
      html("div", { class: "charts" }, grid("large")), html("div", { class: "charts medium" }, grid("medium")))
      : html("p", { class: "muted" }, "No step has been recorded yet."),
    !isComparison && run.completions.length ? new CompletionBrowser(run).root : null,
    others.length ? html("section", {}, html("h2", {}, "Other metrics"), html("div", { class: "charts other" }, others)) : null,
    data.runs.filter((r) => r.recipe).map((r) => html("details", { class: "recipe" },
      html("summary", {}, isComparison ? `Recipe of ${r.name}` : "Recipe, as resolved"), html("pre", {}, r.recipe))),
  ];
  document.getElementById("page").replaceChildren(...page.flat().filter((part) => part));
}

buildPage();
