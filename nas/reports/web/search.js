/* The page of a search for cells: one state, and everything that follows from it. */

const axesOfLam = page.axes, counts = axesOfLam.map((axis) => axis.count);
const costNames = Object.keys(page.costs), { history: past } = page;
const state = { at: counts.map((count) => Math.floor((count - 1) / 2)), pin: null, cost: axesOfLam[0].cost in page.costs ? axesOfLam[0].cost : costNames[0], epoch: null };
const columns = page.cells.map((text) => Array.from(text, (digit) => parseInt(digit, 36)));
const views = { front: () => {}, lanes: () => {}, panels: () => {}, strips: [], inputs: [], pins: [] };
let shownCell = -1, shownKey = "", waiting = 0, hashTimer = 0, touched = 0;

const flat = (at) => at.reduce((index, position, k) => index * counts[k] + position, 0);
const cellOf = (at) => page.cellAt[flat(at)];
const unit = (position, k) => (counts[k] > 1 ? position / (counts[k] - 1) : 0);

/* λ at a position, as `LambdaRange.lam` has it: both ends are exact. */
function lamAt(position, k) {
  const { low, high } = axesOfLam[k], u = unit(position, k);
  return u <= 0 ? low : u >= 1 ? high : Math.exp((1 - u) * Math.log(low) + u * Math.log(high));
}

/* As a command takes it: a few digits less than a double has, but never outside of the range. */
function written(lam, k) {
  const { low, high } = axesOfLam[k];
  return String(Math.min(high, Math.max(low, Number(lam.toPrecision(9)))));
}

const lamsAt = (at) => at.map(lamAt);

function nearest(lam, k) {
  const { low, high } = axesOfLam[k];
  if (!(lam > 0) || counts[k] < 2) return 0;
  const u = (Math.log(lam) - Math.log(low)) / (Math.log(high) - Math.log(low));
  return Math.round(Math.min(1, Math.max(0, u)) * (counts[k] - 1));
}

/* Probabilities between those that are stored: multilinear along log λ. */
function probabilitiesAt(at, sizes, stored) {
  const found = new Float64Array(rowCount * opCount);
  for (let corner = 0; corner < 2 ** sizes.length; corner++) {
    let weight = 1, index = 0;
    sizes.forEach((size, k) => {
      const x = unit(at[k], k) * (size - 1), below = Math.min(Math.floor(x), Math.max(0, size - 2)), share = x - below;
      const upper = (corner >> k) & 1;
      weight *= upper ? share : 1 - share;
      index = index * size + Math.min(below + upper, size - 1);
    });
    if (weight < 1e-12) continue;
    const table = stored[index];
    for (let row = 0; row < rowCount; row++) {
      for (let op = 0; op < opCount; op++) found[row * opCount + op] += weight * table[row][op];
    }
  }
  return found;
}

const presentProbabilities = () => (state.epoch === null
  ? probabilitiesAt(state.at, page.probabilities.sizes, page.probabilities.permille)
  : probabilitiesAt(state.at, past.sizes, past.permille[state.epoch]));

/* Goes to the nearest λ that gives a cell. */
function jumpTo(cell) {
  let found = null, least = Infinity;
  page.cellAt.forEach((other, index) => {
    if (other !== cell) return;
    const at = counts.map((_, k) => Math.floor(index / counts.slice(k + 1).reduce((a, b) => a * b, 1)) % counts[k]);
    const distance = at.reduce((sum, position, k) => sum + Math.abs(position - state.at[k]), 0);
    if (distance < least) { least = distance; found = at; }
  });
  if (found) change({ at: found, epoch: null });
}

function change(part) {
  Object.assign(state, part);
  if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; update(); });
}

function move(k, steps) {
  if (k >= counts.length) return;
  const at = [...state.at];
  at[k] = Math.min(counts[k] - 1, Math.max(0, at[k] + steps));
  change({ at, epoch: null });
}

/* Along the first λ to where the cell is another one. */
function moveToOther(step) {
  const at = [...state.at], here = cellOf(at);
  while (at[0] + step >= 0 && at[0] + step < counts[0]) {
    at[0] += step;
    if (cellOf(at) !== here) return change({ at, epoch: null });
  }
}

/* ------------------------------------------------------------ what follows from the state */

const lamText = (at) => lamsAt(at).map((lam) => digits(lam)).join(", ");

function readout(name, value, note) {
  return el("div", { class: "readout", title: note || null }, el("span", {}, name), el("b", {}, value));
}

function drawReadouts(cell, probabilities) {
  const row = page.rows[cell], then = state.epoch !== null;
  const retrained = !then && row.retrained !== null;
  $("readouts").replaceChildren(
    ...lamsAt(state.at).map((lam, k) => readout(counts.length > 1 ? `λ ${axesOfLam[k].cost}` : "λ", digits(lam), written(lam, k))),
    ...costNames.map((name) => readout(`${name}${name === "latency" ? ", ms" : ""}`, then ? "–" : short(row[name]), then ? null : `${row[name].toLocaleString("en")} ${page.costs[name].unit}`)),
    readout("accuracy", then ? "–" : percent(row.accuracy), "with the supernet's weights, on validation images"),
    retrained ? readout("retrained", percent(row.retrained), cellInWords(cell)) : "",
    readout("edges decided", `${decidedEdges(probabilities)}/${rowCount}`, "edges whose likeliest operation has a probability of at least one half"));
}

function drawSteps(cell) {
  const { up, down } = neighbours(cell, state.cost);
  const sentence = (name, other) => other === null ? null : el("p", {}, `next step ${name}: ${difference(cell, other, state.cost)} `,
    el("button", { type: "button", class: "plain", "data-step": name, onclick: () => jumpTo(other) }, "go"));
  $("steps").replaceChildren(...(page.finished && state.epoch === null ? [sentence("up", up), sentence("down", down)].filter(Boolean) : []));
}

const opName = (op) => (op === space.none ? "no edge" : readable(space.ops[op]));

function changedEdges(from, to) {
  return columns[from].map((op, row) => [row, op, columns[to][row]]).filter(([, a, b]) => a !== b);
}

function drawPinned(cell) {
  const box = $("pinned"), pinned = state.pin;
  box.hidden = pinned === null;
  $("pin").setAttribute("aria-pressed", String(pinned !== null));
  $("pin").textContent = pinned === null ? "pin" : "unpin";
  if (pinned === null) return;
  const other = cellOf(pinned), changed = changedEdges(other, cell);
  const rows = () => changed.map(([row, a, b]) => [edgeName(row), opName(a), opName(b)]);
  box.replaceChildren(
    el("div", { class: "head" }, el("h2", {}, `Changed since pin `, el("span", { class: "muted" }, `(λ = ${lamText(pinned)})`)),
      el("span", { class: "tools" }, csvButton("changed-edges", () => [["edge", "pinned", "here"], rows()]))),
    changed.length ? el("p", {}, difference(other, cell, state.cost)) : el("p", { class: "muted" }, "same cell"),
    el("ul", {}, changed.map(([row, a, b]) => el("li", {}, `${edgeName(row)}: `, el("del", {}, opName(a)), ` ${opName(b)}`))));
}

function drawCommands(cell) {
  const run = page.run.path, lams = lamsAt(state.at).map(written).join(" "), row = page.rows[cell];
  const out = run.startsWith("'") ? `runs/${row.genotype}` : `${run.replace(/\/+$/, "")}-${row.genotype}`;
  const list = [["ask", `python -m nas front ${run} --lam ${lams}`]];
  const inside = (file) => (run.startsWith("'") ? `${run}/${file}` : `${run.replace(/\/+$/, "")}/${file}`);
  if (row.file) {
    list.push(["retrain", `python retrain.py --genotype ${inside(row.file)} --out ${out}`]);
  } else {
    list.push(["write", `python -m nas front ${run} --lam ${lams} --out ${row.genotype}.json`],
      ["retrain", `python retrain.py --genotype ${row.genotype}.json --out ${out}`]);
  }
  const model = row.model ? inside(row.model) : `${out}/model.safetensors`;
  list.push(["export", `python -m nas export ${model} --to onnx`]);
  const present = [...$("commands").querySelectorAll("code")];
  if (present.length === list.length) present.forEach((code, i) => { code.textContent = list[i][1]; });
  else $("commands").replaceChildren(...list.map(([name, text]) => copyable(name, text)));
}

/* Runs of one operation on each edge along the first λ, at the present others. */
function runsAlong() {
  const along = Array.from({ length: counts[0] }, (_, i) => columns[cellOf([i, ...state.at.slice(1)])]);
  return Array.from({ length: rowCount }, (_, row) => {
    const runs = [];
    along.forEach((cell, i) => {
      const last = runs[runs.length - 1];
      if (last && last[0] === cell[row]) last[2] = i; else runs.push([cell[row], i, i]);
    });
    return runs;
  });
}

/* A tick under a slider wherever the cell changes, as long as many edges do. */
function drawStrip(k) {
  const strip = views.strips[k], marks = [];
  for (let i = 1; i < counts[k]; i++) {
    const at = (position) => state.at.map((old, j) => (j === k ? position : old));
    const a = cellOf(at(i - 1)), b = cellOf(at(i));
    if (a === b) continue;
    const changed = changedEdges(a, b), x = 100 * (i - 0.5) / (counts[k] - 1);
    const mark = svg("line", { x1: x, x2: x, y1: 0, y2: Math.min(12, 3 + 1.5 * changed.length) });
    const lam = Math.sqrt(lamAt(i - 1, k) * lamAt(i, k));
    marks.push(tips(mark, () => [`λ ≈ ${digits(lam)}`, ...changed.slice(0, 8).map(([row, p, q]) => `${edgeName(row)}: ${opName(p)} → ${opName(q)}`),
      changed.length > 8 ? `and ${changed.length - 8} more` : null].filter(Boolean).join("\n")));
  }
  if (state.pin !== null && counts[k] > 1) {
    const x = 100 * unit(state.pin[k], k);
    marks.push(svg("line", { class: "pin", x1: x, x2: x, y1: 0, y2: 12 }));
  }
  strip.replaceChildren(...marks);
}

function drawLanesHere() {
  views.lanes = drawLanes($("lanes"), runsAlong(), counts[0], state.at[0], (i) => change({ at: [i, ...state.at.slice(1)], epoch: null }));
}

function update() {
  const probabilities = presentProbabilities(), cell = cellOf(state.at), then = state.epoch !== null;
  drawCells(probabilities, then ? null : columns[cell], state.pin === null || then ? null : columns[cellOf(state.pin)]);
  drawReadouts(cell, probabilities);
  views.inputs.forEach((input, k) => { if (Number(input.value) !== state.at[k]) input.value = state.at[k]; input.setAttribute("aria-valuetext", `λ = ${digits(lamAt(state.at[k], k))}`); });
  views.front(cell, state.pin === null ? null : cellOf(state.pin));
  const key = JSON.stringify([state.pin, counts.length > 1 ? state.at : 0]);
  if (key !== shownKey) {
    shownKey = key;
    counts.forEach((count, k) => count > 1 && drawStrip(k));
    if (counts.length > 1) drawLanesHere();
  }
  views.lanes(state.at[0]);
  if (state.changed || cell !== shownCell) {
    $("table").querySelector("tr.current")?.classList.remove("current");
    $("table").querySelectorAll("tbody tr")[cell]?.classList.add("current");
    drawSteps(cell);
    drawPinned(cell);
    shownCell = cell;
    state.changed = false;
  }
  drawCommands(cell);
  clearTimeout(hashTimer);
  hashTimer = setTimeout(writeHash, 150);
}

/* ------------------------------------------------------------ the address */

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

function readHash() {
  const fields = new URLSearchParams(location.hash.slice(1));
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

/* While the search runs the file is written again after every epoch; the page follows. */
function follow() {
  if (page.finished) return;
  $("live").hidden = false;
  const box = el("input", { type: "checkbox", id: "reload", checked: true, onchange: writeHash });
  $("live").append(`searching: epoch ${page.epoch} of ${page.epochs}`, el("label", {}, box, " follow"));
  for (const name of ["pointerdown", "keydown"]) addEventListener(name, () => { touched = Date.now(); });
  setInterval(() => { if (box.checked && Date.now() - touched > 10000) location.reload(); }, 10000);
}

$("name").textContent = page.run.name;
const { settings } = page;
$("about").textContent = `${settings.data} · ${space.name} · ${settings.channels} channels × ${settings.num_cells} cells · ${page.epochs} epochs · seed ${settings.seed}. `
  + "Line width is probability, faded is undecided.";
follow();
buildSliders();
buildCells($("cells"), (row) => {
  const probabilities = presentProbabilities().slice(row * opCount, (row + 1) * opCount);
  const order = [...space.ops.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  return [edgeName(row), ...order.map((op) => `${(probabilities[op] / 10).toFixed(1).padStart(5)} % ${opName(op)}`)].join("\n");
});
drawLegend($("legend"));
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
addEventListener("hashchange", readHash);
readHash();
