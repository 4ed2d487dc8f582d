// Browses the completions of one run: step, then group, then each completion with its judgement.

const STATUS = {
  ok: ["✓", "right"], wrong: ["✗", "wrong"], unparsed: ["?", "unparsed"], timeout: ["!", "timed out"],
  crashed: ["!", "crashed"], refused: ["–", "refused"],
};

function mean(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

function statusClass(completion) {
  return "status-" + (STATUS[completion.status] ? completion.status : "unknown");
}

function signed(value) {
  return (value > 0 ? "+" : "") + (Math.abs(value) < 5e-4 ? "0" : formatNumber(value));
}

// The text with its <think> and <answer> parts marked. Only these four tags mean anything; all else is plain text.
function markedText(text) {
  const box = html("pre", { class: "completion-text" });
  let part = "";
  let at = 0;
  const add = (from, to) => {
    if (to > from) box.append(html("span", part ? { class: part } : {}, text.slice(from, to)));
  };
  for (const match of text.matchAll(/<(\/?)(think|answer)>/g)) {
    add(at, match.index);
    box.append(html("span", { class: "tag" }, match[0]));
    part = match[1] ? "" : match[2];
    at = match.index + match[0].length;
  }
  add(at, text.length);
  if (!text) box.append(html("span", { class: "muted" }, "(empty)"));
  return box;
}

function completionCard(completion, number) {
  const [sign, word] = STATUS[completion.status] || ["·", completion.status || "not judged"];
  const facts = [];
  if (completion.num_tokens !== null && completion.num_tokens !== undefined) facts.push(`${completion.num_tokens} tokens`);
  if (completion.finish_reason) facts.push(completion.finish_reason);
  const parts = Object.entries(completion.parts || {}).map(([name, value]) =>
    html("span", { class: "part" }, `${name} `, html("b", {}, formatValue(value, "number"))));
  const advantage = completion.advantage;
  return html("article", { class: `completion ${statusClass(completion)}` },
    html("header", {},
      html("span", { class: "muted number" }, `#${number}`),
      html("span", { class: "status" }, `${sign} ${word}`),
      html("span", { class: "muted length" }, facts.join(" · ")),
      html("span", { class: "parts" },
        html("span", { class: "part" }, "reward ", html("b", {}, formatValue(completion.reward, "number"))),
        parts,
        advantage === null || advantage === undefined ? null
          : html("span", { class: "part" }, "advantage ", html("b", { class: advantage > 0 ? "up" : advantage < 0 ? "down" : "" }, signed(advantage))))),
    markedText(completion.text),
    completion.reason ? html("p", { class: "reason" }, completion.reason) : null);
}

class CompletionBrowser {
  constructor(run) {
    this.steps = run.completions;
    this.at = { step: this.steps.length - 1, group: 0, order: "sampled" };
    this.slider = html("input", { type: "range", min: 0, max: this.steps.length - 1, "aria-label": "step",
      oninput: () => this.goTo({ step: Number(this.slider.value) }) });
    this.stepName = html("output", { class: "step-name" });
    this.groups = html("div", { class: "groups", role: "tablist" });
    this.detail = html("div", {});
    const move = (by) => () => this.goTo({ step: this.at.step + by });
    const order = html("select", { "aria-label": "order", onchange: () => this.goTo({ order: order.value }) },
      ["sampled", "best first", "worst first", "longest first"].map((name) => html("option", {}, name)));
    this.root = html("section", { id: "completions" },
      html("h2", {}, "Completions"), html("p", { class: "hint" }, this.note(run)),
      html("div", { class: "controls" },
        html("button", { type: "button", "aria-label": "previous step", onclick: move(-1) }, "‹"), this.slider,
        html("button", { type: "button", "aria-label": "next step", onclick: move(1) }, "›"), this.stepName, order),
      this.groups, this.detail);
    stepEvents.clickListeners.push((step) => this.goToStep(step));
    this.goTo({});
  }

  note(run) {
    const shown = this.steps.length < run.num_completion_steps ? `${this.steps.length} of ${run.num_completion_steps} steps are here, spread evenly` : "A sample of each step's groups";
    const left = run.num_groups_left_out ? `; ${run.num_groups_left_out} groups of these steps are left out` : "";
    return `${shown}${left}. A click on a curve goes to its step.`;
  }

  goToStep(step) {
    let best = 0;
    this.steps.forEach((s, i) => {
      if (Math.abs(s.step - step) < Math.abs(this.steps[best].step - step)) best = i;
    });
    this.goTo({ step: best });
  }

  goTo(change) {
    Object.assign(this.at, change);
    this.at.step = Math.min(Math.max(this.at.step, 0), this.steps.length - 1);
    const { step, groups } = this.steps[this.at.step];
    this.at.group = Math.min(Math.max(this.at.group, 0), Math.max(0, groups.length - 1));
    this.slider.value = this.at.step;
    this.stepName.textContent = `step ${step}`;
    this.groups.replaceChildren(...groups.map((group, i) => this.groupTab(group, i)));
    this.detail.replaceChildren(...(groups.length ? this.groupDetail(groups[this.at.group]) : [html("p", { class: "muted" }, "No group of this step was kept.")]));
  }

  groupTab(group, i) {
    const isChosen = i === this.at.group;
    return html("button", { type: "button", class: "group-tab", role: "tab", "aria-selected": String(isChosen), title: group.prompt,
      onclick: () => this.goTo({ group: i }) },
    html("span", { class: "group-name" }, group.prompt_id || `group ${i + 1}`),
    html("span", { class: "strip" }, group.completions.map((c) => html("i", { class: statusClass(c) }))));
  }

  groupDetail(group) {
    const completions = group.completions.map((completion, i) => ({ completion, number: i + 1 }));
    const by = {
      "best first": (a, b) => (b.completion.reward ?? -Infinity) - (a.completion.reward ?? -Infinity),
      "worst first": (a, b) => (a.completion.reward ?? Infinity) - (b.completion.reward ?? Infinity),
      "longest first": (a, b) => (b.completion.num_tokens ?? 0) - (a.completion.num_tokens ?? 0),
    }[this.at.order];
    if (by) completions.sort((a, b) => by(a, b) || a.number - b.number);
    const numRight = group.completions.filter((c) => c.status === "ok").length;
    const fact = (name, value) => html("span", { class: "part" }, `${name} `, html("b", {}, value));
    return [
      html("div", { class: "prompt" },
        html("pre", {}, group.prompt),
        html("div", { class: "prompt-facts" },
          group.answer === null || group.answer === undefined ? null : fact("reference answer", typeof group.answer === "string" ? group.answer : JSON.stringify(group.answer)),
          fact("right", `${numRight} of ${group.completions.length}`),
          fact("mean reward", formatValue(mean(group.completions.map((c) => c.reward)), "number")),
          fact("mean length", formatValue(mean(group.completions.map((c) => c.num_tokens)), "number")))),
      html("div", { class: "completion-grid" }, completions.map(({ completion, number }) => completionCard(completion, number))),
    ];
  }
}
