// Charts as inline SVG. All charts share the axis of steps and the hovered step.

const MARGIN = { left: 46, right: 12, top: 10, bottom: 22 };

// Who wants to know which step the pointer is at (null: none), and which was clicked.
const stepEvents = {
  hoverListeners: [],
  clickListeners: [],
  hover(step) { for (const listener of this.hoverListeners) listener(step); },
  click(step) { for (const listener of this.clickListeners) listener(step); },
};

// Round values within [low, high], about `count` of them.
function niceTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const ticks = [];
  for (let i = Math.ceil(low / unit - 1e-9); i * unit <= high + unit * 1e-9; i++) ticks.push(i * unit);
  return ticks;
}

// [low, high] of the value axis.
function valueRange(chart, series) {
  let low = Infinity;
  let high = -Infinity;
  const take = (value) => {
    if (value === null) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  if (chart.kind === "stack") {
    const sums = series[0].steps.map((_, i) => series.reduce((sum, s) => sum + (s.values[i] || 0), 0));
    sums.forEach(take);
  } else {
    for (const s of series) for (const list of [s.values, s.low || [], s.high || []]) list.forEach(take);
  }
  if (low > high) return [0, 1];
  if (chart.from_zero) low = Math.min(0, low);
  if (chart.from_zero) high = Math.max(0, high);
  if (chart.format === "percent") return [Math.max(low, 0), high > 0.5 ? Math.max(1, high) : high * 1.05 || 0.01];
  if (low === high) return [low - (Math.abs(low) || 1) * 0.5, high + (Math.abs(high) || 1) * 0.5];
  const pad = (high - low) * 0.05;
  return [chart.from_zero && low === 0 ? 0 : low - pad, high + pad];
}

// The index of the last point at or before `step`; -1 where there is none.
function pointAt(series, step) {
  let first = 0;
  let end = series.steps.length;
  while (first < end) {
    const middle = (first + end) >> 1;
    if (series.steps[middle] <= step) first = middle + 1; else end = middle;
  }
  return first - 1;
}

// "M x,y L x,y ...", broken where a value is missing.
function linePath(xs, ys) {
  let path = "";
  let isOpen = false;
  ys.forEach((y, i) => {
    if (y === null) { isOpen = false; return; }
    path += `${isOpen ? "L" : "M"}${xs[i].toFixed(1)},${y.toFixed(1)}`;
    isOpen = true;
  });
  return path;
}

// The area between two curves, without the points where either is missing.
function bandPath(xs, lows, highs) {
  const ok = xs.map((_, i) => i).filter((i) => lows[i] !== null && highs[i] !== null);
  if (ok.length < 2) return "";
  const point = (ys) => (i) => `${xs[i].toFixed(1)},${ys[i].toFixed(1)}`;
  return `M${ok.map(point(highs)).join("L")}L${ok.reverse().map(point(lows)).join("L")}Z`;
}

class Chart {
  // `steps`: [first, last] of the page. `hidden`: the set of run numbers that are switched off.
  constructor(chart, steps, hidden) {
    this.chart = chart;
    this.steps = steps;
    this.hidden = hidden;
    this.height = { large: 220, medium: 165, small: 110 }[chart.size];
    this.stepLabel = html("span", { class: "chart-step" });
    this.legend = html("div", { class: "legend" });
    this.plot = html("div", { class: "plot" });
    this.root = html("figure", { class: `chart ${chart.size}` },
      html("figcaption", {}, html("h3", {}, chart.title), this.stepLabel),
      this.legend, this.plot, chart.hint ? html("p", { class: "hint" }, chart.hint) : null,
      chart.num_not_finite ? html("p", { class: "hint down" }, `${chart.num_not_finite} values were not finite`) : null);
    // In the next frame: drawing within the observer would resize what it observes.
    new ResizeObserver(() => requestAnimationFrame(() => this.draw())).observe(this.plot);
    stepEvents.hoverListeners.push((step) => this.showStep(step));
  }

  get series() { return this.chart.series.filter((s) => !this.hidden.has(s.run)); }

  draw() {
    const width = this.plot.clientWidth;
    if (width < 40) return;
    const series = this.series;
    const [firstStep, lastStep] = this.steps;
    const [low, high] = valueRange(this.chart, series.length ? series : this.chart.series);
    const inner = { width: width - MARGIN.left - MARGIN.right, height: this.height - MARGIN.top - MARGIN.bottom };
    this.x = (step) => MARGIN.left + inner.width * (lastStep > firstStep ? (step - firstStep) / (lastStep - firstStep) : 0.5);
    this.y = (value) => (value === null ? null : MARGIN.top + inner.height * (1 - (value - low) / (high - low)));
    this.stepOf = (x) => firstStep + ((x - MARGIN.left) / inner.width) * (lastStep - firstStep);
    this.marker = svg("g", { class: "marker" });
    const image = svg("svg", { width, height: this.height, role: "img", "aria-label": this.chart.title },
      this.drawAxes(width, low, high, inner),
      this.chart.kind === "stack" ? this.drawStack(series, inner) : series.map((s) => this.drawLine(s)), this.marker);
    this.listen(image);
    this.plot.replaceChildren(image);
    this.showStep(null);
  }

  drawAxes(width, low, high, inner) {
    const group = svg("g", { class: "axes" });
    const bottom = MARGIN.top + inner.height;
    for (const value of niceTicks(low, high, this.chart.size === "small" ? 2 : 4)) {
      const y = this.y(value);
      group.append(svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y, class: Math.abs(value) < 1e-12 ? "zero" : "grid" }),
        svg("text", { x: MARGIN.left - 7, y: y + 3.5, "text-anchor": "end" }, formatValue(Math.abs(value) < 1e-12 ? 0 : value, this.chart.format)));
    }
    for (const step of niceTicks(this.steps[0], this.steps[1], Math.max(2, inner.width / 90))) {
      if (!Number.isInteger(step)) continue;
      const x = this.x(step);
      const anchor = x > width - 24 ? "end" : "middle";
      group.append(svg("text", { x: anchor === "end" ? width - 4 : x, y: bottom + 16, "text-anchor": anchor }, formatStep(step)));
    }
    return group;
  }

  drawLine(series) {
    const color = slotColor(series.slot);
    const xs = series.steps.map(this.x);
    const ys = series.values.map(this.y);
    const group = svg("g", { style: `--c:${color}` });
    if (series.low) group.append(svg("path", { class: "band", d: bandPath(xs, series.low.map(this.y), series.high.map(this.y)) }));
    group.append(svg("path", { class: "line", d: linePath(xs, ys) }));
    const isSparse = series.is_dotted && xs.length <= 60;
    xs.forEach((x, i) => {
      const isAlone = ys[i - 1] == null && ys[i + 1] == null;
      if (ys[i] !== null && (isSparse || isAlone)) group.append(svg("circle", { class: "dot", cx: x, cy: ys[i], r: 2.8 }));
    });
    return group;
  }

  // Bars where they can be told apart, else areas.
  drawStack(series, inner) {
    const xs = series[0].steps.map(this.x);
    const base = xs.map(() => 0);
    const barWidth = Math.min(18, (inner.width / Math.max(1, this.steps[1] - this.steps[0])) * 0.78);
    return series.map((s) => {
      const lows = base.slice();
      s.values.forEach((value, i) => { base[i] += value || 0; });
      const group = svg("g", { style: `--c:${slotColor(s.slot)}` });
      if (barWidth < 2.5) {
        group.append(svg("path", { class: "area", d: bandPath(xs, lows.map(this.y), base.map(this.y)) }));
        return group;
      }
      xs.forEach((x, i) => {
        const top = this.y(base[i]);
        group.append(svg("rect", { class: "area", x: x - barWidth / 2, width: barWidth, y: top, height: Math.max(0, this.y(lows[i]) - top) }));
      });
      return group;
    });
  }

  listen(image) {
    const step = (event) => {
      const wanted = this.stepOf(event.clientX - image.getBoundingClientRect().left);
      let nearest = null;
      for (const s of this.series) {
        const i = pointAt(s, wanted);
        for (const candidate of [s.steps[i], s.steps[i + 1]]) {
          if (candidate === undefined) continue;
          if (nearest === null || Math.abs(candidate - wanted) < Math.abs(nearest - wanted)) nearest = candidate;
        }
      }
      return nearest;
    };
    image.addEventListener("pointermove", (event) => stepEvents.hover(step(event)));
    image.addEventListener("pointerdown", (event) => stepEvents.hover(step(event)));
    image.addEventListener("pointerleave", () => stepEvents.hover(null));
    image.addEventListener("click", (event) => stepEvents.click(step(event)));
  }

  // The values at `step` in the legend and a line through the plot; null: the last values, no line.
  showStep(step) {
    if (!this.marker) return;
    this.stepLabel.textContent = step === null ? "" : `step ${step.toLocaleString("en")}`;
    this.marker.replaceChildren();
    if (step !== null) {
      const x = this.x(step);
      this.marker.append(svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: this.height - MARGIN.bottom }));
    }
    const isLabelled = this.chart.size !== "small" && !this.chart.isOverlay;
    this.legend.replaceChildren(...this.series.slice(0, 8).map((s) => {
      const i = step === null ? s.steps.length - 1 : pointAt(s, step);
      const value = i < 0 ? null : s.values[i];
      if (step !== null && value !== null && this.chart.kind !== "stack") {
        this.marker.append(svg("circle", { cx: this.x(s.steps[i]), cy: this.y(value), r: 4, style: `--c:${slotColor(s.slot)}` }));
      }
      return html("span", { class: "legend-item", style: `--c:${slotColor(s.slot)}`, title: s.label },
        html("i", {}), isLabelled ? html("span", { class: "legend-label" }, s.label) : null,
        html("b", {}, formatValue(value, this.chart.format)));
    }));
  }
}
