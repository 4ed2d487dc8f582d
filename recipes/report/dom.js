"use strict";
// Elements and number formats. Text enters the page through text nodes only: completions are untrusted.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function fillElement(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

function html(tag, attributes, ...children) {
  return fillElement(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fillElement(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

const THIN_SPACE = "\u2009";
const MINUS = "\u2212";

// Digits for a person: 0.00012 -> 1.2e-4, 0.0123, 0.831, 25.1, 1,204.
function formatNumber(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  let text;
  if (size < 1e-3) {
    text = value.toExponential(1).replace(/\.0e/, "e");
  } else if (size >= 1e6) {
    text = formatCount(value);
  } else if (size >= 1000) {
    text = Math.round(value).toLocaleString("en");
  } else {
    text = String(Number(value.toPrecision(3)));
  }
  return text.replace("-", MINUS).replace("e-", "e" + MINUS);
}

function formatCount(value) {
  const units = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  for (const [unit, name] of units) {
    if (Math.abs(value) >= 0.9995 * unit) return Number((value / unit).toPrecision(3)) + name;
  }
  return String(Math.round(value));
}

function formatStep(step) {
  return step >= 10000 ? formatCount(step) : String(step);
}

function formatPercent(value) {
  const percent = 100 * value;
  const digits = Math.abs(percent) >= 0.095 || percent === 0 ? 1 : 2;
  return Number(percent.toFixed(digits)).toString().replace("-", MINUS) + THIN_SPACE + "%";
}

function formatSeconds(value) {
  if (value >= 60) return Math.floor(value / 60) + ":" + String(Math.round(value % 60)).padStart(2, "0");
  return (value < 0.1 ? formatNumber(value) : Number(value.toFixed(2))) + THIN_SPACE + "s";
}

const FORMATS = { number: formatNumber, count: formatCount, percent: formatPercent, seconds: formatSeconds };

function formatValue(value, format) {
  return value === null || value === undefined ? "–" : FORMATS[format](value);
}

// The colour of a slot: eight from the style sheet, then hues that differ.
function slotColor(slot) {
  return slot < 8 ? `var(--series-${slot})` : `hsl(${(slot * 137) % 360} 60% 50%)`;
}
