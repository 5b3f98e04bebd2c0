/* The cell: every edge of the space at a fixed place, changed in width, colour and name alone. */

const { space } = page;
const edgeCount = space.layout.edges.length, opCount = space.ops.length;
const rowCount = edgeCount * space.kinds.length;
const readable = (op) => op.replace(/_/g, " ").replace(/(\d)x(\d)/, "$1×$2");
const parts = []; // of each row of the table of edges: the elements that change

function stateName(name) {
  const found = /^(\w+)_\{(.+)\}$/.exec(name);
  return found ? `${found[1]} ${found[2].replace("-", "−")}` : name;
}

function stateText(name, x, y) {
  const found = /^(\w+)_\{(.+)\}$/.exec(name);
  if (!found) return svg("text", { x, y }, name);
  return svg("text", { x, y }, found[1], svg("tspan", { dy: 3, "font-size": 9 }, found[2].replace("-", "−")));
}

function edgeName(row) {
  const { source, target } = space.layout.edges[row % edgeCount], { nodes } = space.layout;
  const kind = space.kinds.length > 1 ? `${space.kinds[Math.floor(row / edgeCount)]} ` : "";
  return `${kind}${stateName(nodes[source].name)} → ${stateName(nodes[target].name)}`;
}

/* A second operation of a family's colour is drawn lighter. */
function shade(op) {
  const colour = space.colours[op];
  const earlier = space.colours.slice(0, op).filter((other) => other === colour).length;
  return [1, 0.6, 0.4][Math.min(earlier, 2)];
}

function buildEdge(row, tells) {
  const spec = space.layout.edges[row % edgeCount];
  const left = spec.x - spec.width / 2, up = spec.y - spec.height / 2;
  const tail = svg("path", { d: spec.tail }), head = svg("path", { d: spec.head });
  const box = { x: left, y: up, width: spec.width, height: spec.height, rx: 7 };
  const tint = svg("rect", { ...box, class: "tint" });
  const name = svg("text", { x: spec.x, y: spec.y - 3 }), share = svg("text", { x: spec.x, y: spec.y + 9, class: "share" });
  const pill = svg("g", { class: "pill" }, svg("rect", box), tint, name, share);
  const arrow = svg("path", {}), middle = svg("path", { d: `M${left} ${spec.y}h${spec.width}` });
  const wire = svg("g", { class: "edge" }, tail, head, middle, arrow);
  parts[row] = { wire, tail, head, middle, arrow, pill, tint, name, share };
  tips(pill, () => tells(row));
  return [wire, pill];
}

/* The arrow's head, where the path ends; drawn once the path has a length. */
function tipOf(path) {
  const length = path.getTotalLength(), end = path.getPointAtLength(length), back = path.getPointAtLength(Math.max(0, length - 8));
  const dx = (end.x - back.x) / 8, dy = (end.y - back.y) / 8;
  const point = (along, aside) => `${(end.x - along * dx - aside * dy).toFixed(1)} ${(end.y - along * dy + aside * dx).toFixed(1)}`;
  return `M${point(0, 0)}L${point(9, 3.6)}L${point(9, -3.6)}Z`;
}

/* Builds the pictures of all kinds of cell. `tells(row)` is what the pointer is told of an edge. */
function buildCells(box, tells) {
  const { layout } = space;
  space.kinds.forEach((kind, number) => {
    const wires = svg("g", { class: "wires" }), pills = svg("g", { class: "wires" });
    for (let edge = 0; edge < edgeCount; edge++) {
      const [wire, pill] = buildEdge(number * edgeCount + edge, tells);
      wires.append(wire);
      pills.append(pill);
    }
    const states = layout.nodes.map((node) => svg("g", { class: "state" },
      svg("rect", { x: node.x - node.width / 2, y: node.y - node.height / 2, width: node.width, height: node.height, rx: 8 }),
      stateText(node.name, node.x, node.y)));
    const picture = svg("svg", { viewBox: `-4 -6 ${layout.width + 8} ${layout.height + 12}`, role: "img", "aria-label": `${kind} cell` },
      layout.joins.map((d) => svg("path", { class: "join", d })), wires, states, pills);
    const called = { normal: "normal cell", reduce: "reduction cell" }[kind] || kind;
    box.append(el("figure", { tabindex: 0, role: "group", "aria-label": called }, el("figcaption", {}, called), picture));
  });
  for (const { head, arrow } of parts) arrow.setAttribute("d", tipOf(head));
}

/* Shows one distribution. `probabilities` (rows × ops) in thousandths; `cell` the chosen column of
   every edge, null where none was chosen; `other` a cell to compare with, or null. */
function drawCells(probabilities, cell, other) {
  for (let row = 0; row < rowCount; row++) {
    const start = row * opCount, part = parts[row];
    let likeliest = 0;
    for (let op = 1; op < opCount; op++) if (probabilities[start + op] > probabilities[start + likeliest]) likeliest = op;
    const kept = cell ? cell[row] !== space.none : likeliest !== space.none;
    const op = cell && kept ? cell[row] : likeliest;
    const share = probabilities[start + op] / 1000, decided = Math.max(0, (share - 1 / opCount) / (1 - 1 / opCount));
    const absent = !kept && op === space.none;
    const opacity = absent ? 0.35 : kept ? 0.5 + 0.5 * decided : 0.12 + 0.3 * decided;
    const colour = space.colours[op], width = absent ? 0.6 : 0.8 + 4.2 * share;
    for (const path of [part.tail, part.head, part.middle]) {
      path.setAttribute("stroke", colour);
      path.setAttribute("stroke-width", width.toFixed(2));
      path.setAttribute("stroke-dasharray", absent ? "3 3" : "none");
    }
    part.arrow.setAttribute("fill", colour);
    part.middle.setAttribute("visibility", absent ? "visible" : "hidden"); // else the pill lies there
    part.wire.setAttribute("opacity", opacity.toFixed(2));
    part.tint.setAttribute("fill", colour);
    part.tint.setAttribute("stroke", colour);
    part.tint.setAttribute("stroke-width", kept ? (0.8 + 0.9 * share).toFixed(2) : "0.7");
    part.pill.setAttribute("opacity", absent ? "0" : kept ? (0.85 + 0.15 * decided).toFixed(2) : (0.3 + 0.3 * decided).toFixed(2));
    const differs = other !== null && cell !== null && other[row] !== cell[row];
    part.pill.setAttribute("class", `pill${kept ? "" : " off"}${differs ? " differs" : ""}`);
    if (part.shown !== op) { part.name.textContent = readable(space.ops[op]); part.shown = op; }
    part.share.textContent = `${Math.round(100 * share)} %`;
  }
}

/* Edges whose likeliest operation has at least even chances. */
function decidedEdges(probabilities) {
  let count = 0;
  for (let row = 0; row < rowCount; row++) {
    let most = 0;
    for (let op = 0; op < opCount; op++) most = Math.max(most, probabilities[row * opCount + op]);
    count += most >= 500;
  }
  return count;
}

/* Which operation every edge has along one λ. `runs[row]` are [operation, first, last] positions. */
function drawLanes(box, runs, count, at, jump) {
  const width = Math.max(540, box.clientWidth), left = 150, lane = 13, top = 4;
  const px = (position) => left + (width - left - 6) * position / count;
  const gap = (row) => 12 * Math.floor(row / edgeCount);
  const height = top + lane * rowCount + gap(rowCount - 1) + 4;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "operations of each edge along λ" });
  for (let row = 0; row < rowCount; row++) {
    const y = top + lane * row + gap(row);
    picture.append(svg("text", { x: left - 8, y: y + lane / 2, "text-anchor": "end", "dominant-baseline": "central" }, edgeName(row)));
    for (const [op, first, last] of runs[row]) {
      const absent = op === space.none;
      const bar = svg("rect", { x: px(first).toFixed(1), y: absent ? y + lane / 2 - 0.5 : y + 1.5, width: Math.max(0.5, px(last + 1) - px(first) - 1).toFixed(1),
        height: absent ? 1 : lane - 3, rx: 2, fill: absent ? "var(--faint)" : space.colours[op], "fill-opacity": shade(op) });
      picture.append(tips(bar, () => `${edgeName(row)}: ${absent ? "no edge" : readable(space.ops[op])}`));
    }
  }
  const now = svg("line", { class: "now", y1: 0, y2: height });
  picture.append(now);
  picture.addEventListener("click", (event) => {
    const frame = picture.getBoundingClientRect(), x = (event.clientX - frame.left) * width / frame.width;
    if (x >= left) jump(Math.min(count - 1, Math.floor((x - left) / (width - left - 6) * count)));
  });
  box.replaceChildren(picture);
  const move = (position) => { for (const name of ["x1", "x2"]) now.setAttribute(name, px(position + 0.5)); };
  move(at);
  return move;
}

function drawLegend(box) {
  box.replaceChildren(...space.ops.map((op, i) => {
    const patch = el("i", {});
    patch.style.background = i === space.none ? "var(--faint)" : space.colours[i];
    patch.style.opacity = shade(i);
    return el("span", {}, patch, i === space.none ? "no edge" : readable(op));
  }));
}
