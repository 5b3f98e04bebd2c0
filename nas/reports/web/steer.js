/* What changes the state: the address, sliders, a budget, epochs, keys. And the page's beginning. */

function writeHash() {
  const lams = (at) => lamsAt(at).map((lam) => digits(lam, 6)).join(",");
  const fields = [`lam=${lams(state.at)}`];
  if (state.pin !== null) fields.push(`pin=${lams(state.pin)}`);
  if (state.cost !== costNames[0]) fields.push(`cost=${state.cost}`);
  if (state.epoch !== null) fields.push(`epoch=${past.epochs[state.epoch]}`);
  if ($("reload") && !$("reload").checked) fields.push("live=0");
  const hash = `#${fields.join("&")}`;
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

function readHash(hash) {
  const fields = new URLSearchParams(hash.slice(1));
  const lams = (name) => {
    const values = (fields.get(name) || "").split(",").map(Number);
    return values.length === counts.length && values.every((lam) => lam > 0) ? values.map(nearest) : null;
  };
  const epoch = past.epochs.indexOf(Number(fields.get("epoch")));
  if (fields.get("live") === "0" && $("reload")) $("reload").checked = false;
  const cost = fields.get("cost");
  state.changed = true;
  change({ at: lams("lam") || state.at, pin: lams("pin"), epoch: epoch < 0 ? null : epoch });
  if (costNames.includes(cost) && cost !== state.cost) chooseCost(cost);
  if (past.epochs.length > 1) scrub();
}

/* ------------------------------------------------------------ what is built once */

function buildSliders() {
  axesOfLam.forEach((axis, k) => {
    if (axis.count < 2) { views.strips[k] = null; return; }
    const input = el("input", { type: "range", min: 0, max: axis.count - 1, step: 1, id: `lam-${k}`,
      "aria-label": `λ of ${page.costs[axis.cost]?.label || axis.cost}`, oninput: () => {
        const at = [...state.at];
        at[k] = Number(input.value);
        change({ at, epoch: null });
      } });
    views.inputs[k] = input;
    views.strips[k] = svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none" });
    const small = { params: "small", flops: "few operations", latency: "fast", kl: "simple" }[axis.cost] || "cheap";
    $("sliders").append(el("div", { class: "slider" }, el("span", {}, "accurate"), input, el("span", {}, small),
      el("div", { class: "strip" }, views.strips[k])));
  });
  $("second-axis").hidden = !(counts[1] > 1);
}

function chooseCost(name) {
  state.cost = name;
  for (const button of $("cost-axis").children) button.setAttribute("aria-pressed", String(button.value === name));
  views.front = drawFront($("front"), name, jumpTo);
  state.changed = true;
  change({});
}

function askBudget() {
  const text = $("budget").value;
  if (!text.trim()) { $("told").textContent = ""; return; }
  const most = parseAmount(text), { unit: unitName } = page.costs[state.cost];
  if (most === null) { $("told").textContent = `A budget is a number of ${unitName}, as 100k or 1.5M.`; return; }
  const cell = within(state.cost, most);
  if (cell === null) {
    const least = Math.min(...page.rows.map((row) => row[state.cost]));
    $("told").textContent = `No cell is within ${short(most)} ${unitName}: the least is ${short(least)}.`;
    return;
  }
  const { up } = page.finished ? neighbours(cell, state.cost) : { up: null };
  $("told").textContent = `Within ${short(most)} ${unitName}: ${short(page.rows[cell][state.cost])}`
    + (page.rows[cell].accuracy === null ? "" : `, ${percent(page.rows[cell].retrained ?? page.rows[cell].accuracy)}`)
    + (up === null ? (page.finished ? "; nothing larger is better" : "") : `; next step up: ${difference(cell, up, state.cost)}`) + ".";
  jumpTo(cell);
}

function scrub() {
  const input = $("epoch"), last = past.epochs.length;
  input.value = state.epoch === null ? last : state.epoch;
  $("epoch-name").textContent = state.epoch === null ? (page.finished ? "end of the search" : `epoch ${page.epoch}, now`) : `epoch ${past.epochs[state.epoch]}`;
  views.panels();
}

function buildTraining() {
  if (!page.panels.length) return;
  $("training").hidden = false;
  $("training").querySelector(".tools").append(csvButton("training", () => panelsCsv(page.panels)));
  const boxes = page.panels.map(() => el("div", {}));
  $("panels").append(...boxes);
  views.panels = () => page.panels.forEach((spec, i) => panel(boxes[i], spec, state.epoch === null ? null : past.epochs[state.epoch]));
  redrawn(() => views.panels());
  if (past.epochs.length < 2) return;
  $("scrubber").hidden = false;
  const input = el("input", { type: "range", id: "epoch", min: 0, max: past.epochs.length, step: 1, value: past.epochs.length, "aria-label": "epoch of the cell shown", oninput: () => {
    const at = Number(input.value);
    state.changed = true;
    change({ epoch: at === past.epochs.length ? null : at });
    scrub();
  } });
  $("scrubber").append(el("span", {}, "cell after"), input, el("b", { id: "epoch-name" }, ""));
  scrub();
}

function buildTable() {
  const lams = page.rows.map(() => []);
  page.cellAt.forEach((cell, index) => lams[cell].push(index));
  const edge = (index) => counts.map((_, k) => digits(lamAt(Math.floor(index / counts.slice(k + 1).reduce((a, b) => a * b, 1)) % counts[k], k))).join(", ");
  const names = ["λ from", "λ to", ...costNames, "accuracy", "retrained", "std", "genotype"];
  const values = page.rows.map((row, i) => [edge(lams[i][0]), edge(lams[i][lams[i].length - 1]), ...costNames.map((name) => row[name]), row.accuracy, row.retrained, row.retrained_std, row.genotype]);
  const rounded = values.map((line) => line.map((value, i) => (i >= 2 + costNames.length && i < names.length - 1 && value !== null ? (100 * value).toFixed(2) + " %" : typeof value === "number" ? value.toLocaleString("en") : value)));
  $("table").replaceChildren(csvButton("cells", () => [names, values]),
    table(names, rounded, (i) => ({ class: "jump", onclick: () => jumpTo(i) })));
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text], select")) return;
  const inRange = event.target.matches("input[type=range]");
  const act = {
    ArrowLeft: () => !inRange && move(0, -1), ArrowRight: () => !inRange && move(0, 1),
    ArrowDown: () => !inRange && counts[1] > 1 && move(1, -1), ArrowUp: () => !inRange && counts[1] > 1 && move(1, 1),
    Home: () => !inRange && move(0, -counts[0]), End: () => !inRange && move(0, counts[0]),
    "[": () => moveToOther(-1), "]": () => moveToOther(1),
    p: togglePin, k: toKnee, b: () => $("budget").focus(),
  }[event.key];
  if (act && act() !== false) event.preventDefault();
}

function togglePin() {
  state.changed = true;
  change({ pin: state.pin === null ? [...state.at] : null });
}

function toKnee() {
  const { knee } = page.along[state.cost];
  if (knee !== null) jumpTo(knee);
}

$("name").textContent = page.run.name;
const { settings } = page;
$("about").textContent = `${settings.data} · ${space.name} · ${settings.channels} channels × ${settings.num_cells} cells · ${page.epochs} epochs · seed ${settings.seed}. `
  + "Line width is probability, faded is undecided.";
follow(writeHash);
buildSliders();
buildCells($("cells"), (row) => {
  const probabilities = presentProbabilities().slice(row * opCount, (row + 1) * opCount);
  const order = [...space.ops.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  return [edgeName(row), ...order.map((op) => `${(probabilities[op] / 10).toFixed(1).padStart(5)} % ${opName(op)}`)].join("\n");
});
drawLegend($("legend"));
if (counts.length > 1) $("lanes-title").append(` along the λ of ${axesOfLam[0].cost}`);
$("cost-axis").append(...costNames.map((name) => el("button", { type: "button", value: name, onclick: () => chooseCost(name) }, name)));
redrawn(() => { chooseCost(state.cost); drawLanesHere(); });
$("lanes-section").querySelector(".tools").append(csvButton("switches", () => [["edge", "operation", "λ from", "λ to"],
  runsAlong().flatMap((runs, row) => runs.map(([op, first, last]) => [edgeName(row), opName(op), lamAt(first, 0), lamAt(last, 0)]))]));
buildTraining();
buildTable();
settingsTable(settings);
$("advice").append(...page.advice.map((text) => el("li", {}, text)));
$("diagnostics").textContent = page.diagnostics.join("\n");
$("pin").addEventListener("click", togglePin);
$("to-knee").addEventListener("click", toKnee);
$("budget").addEventListener("input", askBudget);
$("budget").addEventListener("keydown", (event) => { if (event.key === "Escape") $("budget").blur(); });
document.addEventListener("keydown", keys);
// The event's own address: the timer of an earlier change may have written over the present one.
addEventListener("hashchange", (event) => readHash(new URL(event.newURL).hash));
toKnee(); // where to begin, unless the address says otherwise
readHash(location.hash);
