/* The front: accuracy against a cost, retrained cells, random cells, the knee; what a budget buys. */

const accuracies = (row) => [row.accuracy, row.retrained].filter((value) => value !== null);

/* Compares as `nas front --at-most` does: retrained cells go before others. */
function better(a, b) {
  const quality = (row) => [row.retrained !== null ? 1 : 0, row.retrained ?? 0, row.accuracy ?? -1];
  const [x, y] = [quality(a), quality(b)];
  const at = x.findIndex((value, i) => value !== y[i]);
  return at >= 0 && x[at] > y[at];
}

const best = (cells) => cells.reduce((a, b) => (a === null || better(page.rows[b], page.rows[a]) ? b : a), null);

/* The best known cell within a budget, null if none is; and the neighbours of a cell. */
function within(cost, most) {
  const inside = page.rows.map((_, i) => i).filter((i) => page.rows[i][cost] <= most);
  return page.finished ? best(inside) : inside[0] ?? null; // before scores: the one at the smallest λ
}

function neighbours(cell, cost) {
  const here = page.rows[cell], all = page.rows.map((_, i) => i);
  const up = all.filter((i) => page.rows[i][cost] > here[cost] && better(page.rows[i], here));
  return {
    down: best(all.filter((i) => page.rows[i][cost] < here[cost])),
    up: up.reduce((a, b) => (a === null || page.rows[b][cost] < page.rows[a][cost] ? b : a), null),
  };
}

/* "−2.1k parameters, −0.6 points, 3 edges change" */
function difference(from, to, cost) {
  const a = page.rows[from], b = page.rows[to];
  const both = a.retrained !== null && b.retrained !== null;
  const change = (kind) => signed((100 * (b[kind] - a[kind])).toFixed(2));
  const edges = [...page.cells[from]].filter((op, row) => op !== page.cells[to][row]).length;
  const { unit } = page.costs[cost];
  return [`${signed(short(b[cost] - a[cost]))} ${unit}`,
    a.accuracy === null ? null : both ? `${change("retrained")} points (retrained)` : `${change("accuracy")} points`,
    `${edges} edge${edges === 1 ? "" : "s"} change${edges === 1 ? "s" : ""}`].filter(Boolean).join(", ");
}

function cellInWords(cell) {
  const row = page.rows[cell];
  const costs = Object.entries(page.costs).map(([name, { unit }]) => `${row[name].toLocaleString("en")} ${unit}`);
  const spread = row.retrained_std === null ? "" : ` ± ${(100 * row.retrained_std).toFixed(2)}`;
  return [...costs, row.accuracy === null ? null : `${percent(row.accuracy)} shared weights, validation`,
    row.retrained === null ? null : `${(100 * row.retrained).toFixed(2)}${spread} % retrained, test`].filter(Boolean).join("\n");
}

/* Draws the front; `jump(cell)` goes to a cell. Returns how to mark the present and the pinned one. */
function drawFront(box, cost, jump) {
  const cells = page.rows.map((_, i) => i), chance = page.chance[cost] || [];
  const { members, knee } = page.along[cost];
  const spread = (row) => row.retrained_std ?? 0;
  const heights = page.rows.flatMap((row) => [row.accuracy, row.retrained === null ? null : row.retrained - spread(row),
    row.retrained === null ? null : row.retrained + spread(row)]).filter((v) => v !== null);
  const costs = [...page.rows.map((row) => row[cost]), ...chance.map((band) => band[0])];
  if (!heights.length) {
    box.replaceChildren(el("p", { class: "muted" }, "Accuracies follow when the search has ended."));
    return () => {};
  }
  const y = extent([...heights, ...chance.flatMap((band) => band.slice(1))]);
  const drawn = axes(box, { x: { ...costExtent(costs), format: short, label: page.costs[cost].label },
    y: { ...y, high: Math.min(y.high, 1.004), format: (v) => `${digits(100 * v, 4)} %` }, height: 300, title: `accuracy against ${page.costs[cost].label}` });
  const { picture, px, py } = drawn, at = (i, kind = "accuracy") => [px(page.rows[i][cost]), py(page.rows[i][kind])];
  if (chance.length) {
    const edge = (k) => chance.map((band) => [px(band[0]), py(band[k])]);
    picture.append(svg("path", { class: "band", d: `${line([...edge(1), ...edge(3).reverse()])}Z` }),
      svg("path", { class: "median", d: line(edge(2)) }));
  }
  const steps = members.flatMap((i, n) => (n ? [[at(i)[0], at(members[n - 1])[1]], at(i)] : [at(i)]));
  if (steps.length) picture.append(svg("path", { class: "step", d: line(steps) }));
  const mark = (i, node) => {
    node.addEventListener("click", () => jump(i));
    return tips(node, () => cellInWords(i));
  };
  for (const i of [...cells].sort((a, b) => members.includes(a) - members.includes(b))) {
    if (page.rows[i].accuracy === null) continue;
    const [cx, cy] = at(i);
    picture.append(mark(i, svg("circle", { class: `dot${members.includes(i) ? "" : " dominated"}`, "data-cell": i, cx, cy, r: members.includes(i) ? 5 : 4 })));
  }
  for (const i of cells.filter((i) => page.rows[i].retrained !== null)) {
    const [x, y] = at(i, "retrained"), up = py(page.rows[i].retrained + spread(page.rows[i])), down = 2 * y - up;
    picture.append(mark(i, svg("g", { class: "retrained", "data-retrained": i }, svg("path", { d: `M${x} ${up}V${down}M${x - 4} ${up}h8M${x - 4} ${down}h8` }),
      svg("path", { d: `M${x} ${y - 5}l5 5l-5 5l-5 -5Z` }))));
  }
  if (knee !== null) {
    const [x, y] = at(knee), right = x < drawn.width - 60;
    picture.append(svg("circle", { class: "knee", cx: x, cy: y, r: 8.5 }),
      svg("text", { x: right ? x + 12 : x - 12, y: y + 14, "text-anchor": right ? "start" : "end" }, "knee"));
  }
  const pinned = svg("circle", { class: "ring pinned", r: 11 }), ring = svg("circle", { class: "ring", r: 9 });
  picture.append(pinned, ring);
  const has = (kind) => page.rows.some((row) => row[kind] !== null);
  box.append(el("div", { class: "key" },
    el("span", {}, svg("svg", { width: 12, height: 10 }, svg("circle", { class: "dot", cx: 5, cy: 5, r: 4 })), "shared weights, validation"),
    has("retrained") ? el("span", {}, svg("svg", { width: 12, height: 10, class: "retrained" }, svg("path", { d: "M5 0l4 5l-4 5l-4 -5Z" })), "retrained, test") : null,
    chance.length ? el("span", {}, svg("svg", { width: 16, height: 10 }, svg("rect", { class: "band", width: 16, height: 10 }), svg("path", { class: "median", d: "M0 5H16" })), "random cells: median, middle 80 %") : null));
  return (cell, pin) => {
    const place = (node, i) => {
      const shown = i !== null && page.rows[i].accuracy !== null;
      node.setAttribute("visibility", shown ? "visible" : "hidden");
      if (shown) { node.setAttribute("cx", at(i)[0].toFixed(1)); node.setAttribute("cy", at(i)[1].toFixed(1)); }
    };
    place(ring, cell);
    place(pinned, pin);
  };
}
