/* What follows from the state: numbers, steps, the pinned cell, commands, strips under the sliders. */

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
  const list = [["ask", `python -m nas ask ${run} --lam ${lams}`]];
  const inside = (file) => (run.startsWith("'") ? `${run}/${file}` : `${run.replace(/\/+$/, "")}/${file}`);
  if (row.file) {
    list.push(["retrain", `python -m nas retrain --genotype ${inside(row.file)} --out ${out}`]);
  } else {
    list.push(["write", `python -m nas ask ${run} --lam ${lams} --out ${row.genotype}.json`],
      ["retrain", `python -m nas retrain --genotype ${row.genotype}.json --out ${out}`]);
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
