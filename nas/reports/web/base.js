"use strict";
/* What all pages share: the document, elements, numbers, tables, what can be copied or saved.
   Text of a user is only ever set as text; nothing here parses HTML. */

const page = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/* 12,345 → 12.3k; three digits, as one reads them aloud. */
function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= 0.9995 * unit) return `${digits(value / unit)}${name}`;
  }
  return digits(value);
}

function digits(value, count = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) return value.toExponential(count - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(count)));
}

const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(2)} %`);
const signed = (text) => (text.startsWith("-") ? `−${text.slice(1)}` : `+${text}`);

/* "100k", "≤ 1.5 M", "12,000" → a number; null if it is none. */
function parseAmount(text) {
  const found = /^\s*[≤<=]*\s*(\d[\d,_ ]*(?:\.\d+)?|\.\d+)(e[+-]?\d+)?\s*([kKmMgG]?)\s*(?:ms|nats|parameters|multiply.adds)?\s*$/.exec(text);
  if (!found) return null;
  const value = Number(found[1].replace(/[,_ ]/g, "") + (found[2] || ""));
  return value * { "": 1, k: 1e3, m: 1e6, g: 1e9 }[found[3].toLowerCase()];
}

function toCsv(columns, rows) {
  const quote = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [columns, ...rows].map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n";
}

/* A button that saves a table; `make` returns [columns, rows] when it is asked. */
function csvButton(name, make) {
  return el("button", { type: "button", class: "plain csv", title: `Save as ${name}.csv`, onclick: () => {
    const url = URL.createObjectURL(new Blob([toCsv(...make())], { type: "text/csv" }));
    const link = el("a", { href: url, download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  } }, "CSV");
}

function table(columns, rows, more = () => ({})) {
  return el("table", {},
    el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row, i) => el("tr", more(i), row.map((value) => el("td", {}, value === null ? "–" : String(value)))))));
}

function copyable(name, text) {
  const code = el("code", { tabindex: 0 }, text);
  const button = el("button", { type: "button", "aria-label": `Copy: ${name}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch { /* a page from a file may not: what is selected can be copied by hand */
      getSelection().selectAllChildren(code);
      button.textContent = document.execCommand("copy") ? "copied" : "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1200);
  } }, "copy");
  return el("div", { class: "command" }, el("span", { class: "muted" }, name), code, button);
}

/* Shows a text beside the pointer, or beside the element that has the focus. */
function tips(node, text) {
  const show = (event) => {
    const tip = $("tip");
    tip.textContent = text();
    tip.hidden = false;
    const box = node.getBoundingClientRect();
    const [x, y] = event.clientX ? [event.clientX, event.clientY] : [box.right, box.top];
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, y - tip.offsetHeight - 10)}px`;
  };
  const hide = () => { $("tip").hidden = true; };
  for (const name of ["pointerenter", "pointermove", "focus"]) node.addEventListener(name, show);
  for (const name of ["pointerleave", "blur"]) node.addEventListener(name, hide);
  return node;
}

function settingsTable(settings) {
  const rows = Object.entries(settings).map(([name, value]) =>
    [name, value !== null && typeof value === "object" ? JSON.stringify(value) : value]);
  $("settings").replaceChildren(csvButton("settings", () => [["setting", "value"], rows]), table(["setting", "value"], rows));
}

/* While a search runs its file is written again and again; the page follows, unless it is in use. */
function follow(changed = () => {}) {
  if (page.finished) return;
  let touched = 0;
  const box = el("input", { type: "checkbox", id: "reload", checked: true, onchange: changed });
  $("live").hidden = false;
  $("live").append(`searching: epoch ${page.epoch} of ${page.epochs}`, el("label", {}, box, " follow"));
  for (const name of ["pointerdown", "keydown"]) addEventListener(name, () => { touched = Date.now(); });
  setInterval(() => { if (box.checked && Date.now() - touched > 10000) location.reload(); }, 10000);
}
