/* Several searches: their fronts over one another, a leaderboard, the settings that differ. */

const costNames = Object.keys(page.costs);
const kinds = { val_accuracy: "shared weights, validation", retrained: "retrained, test" };
const known = Object.keys(kinds).filter((kind) => page.fronts[costNames[0]][kind].points.some((points) => points.length));
const chosen = { cost: costNames[0], kind: known[0], without: new Set() };
const labels = page.runs.map((run) => run.label);
const colour = (run) => `run-${run % 8}`;

function drawFronts() {
  const { points, members } = page.fronts[chosen.cost][chosen.kind];
  const shown = points.map((each, run) => (chosen.without.has(run) ? [] : each));
  const every = shown.flat();
  if (!every.length) { $("front").replaceChildren(el("p", { class: "muted" }, "Nothing is chosen.")); return; }
  const spread = (point) => point[2] ?? 0;
  const y = extent(every.flatMap((point) => [point[1] - spread(point), point[1] + spread(point)]));
  const { picture, px, py } = axes($("front"), { x: { ...costExtent(every.map((point) => point[0])), format: short, label: page.costs[chosen.cost].label },
    y: { ...y, high: Math.min(y.high, 1.004), format: (v) => `${digits(100 * v, 4)} %` }, height: 380, title: "fronts of accuracy against cost" });
  shown.forEach((each, run) => {
    const front = members[run].map((i) => each[i]).filter(Boolean);
    const steps = front.flatMap((point, n) => (n ? [[px(point[0]), py(front[n - 1][1])], [px(point[0]), py(point[1])]] : [[px(point[0]), py(point[1])]]));
    if (steps.length) picture.append(svg("path", { class: `curve ${colour(run)}`, d: line(steps) }));
    each.forEach((point, i) => {
      const [x, y] = [px(point[0]), py(point[1])], member = members[run].includes(i);
      const bar = spread(point) ? svg("path", { class: `curve ${colour(run)}`, d: `M${x} ${py(point[1] - spread(point))}V${py(point[1] + spread(point))}` }) : null;
      const dot = svg("circle", { class: `point ${colour(run)}${member ? "" : " dominated"}`, cx: x, cy: y, r: member ? 4.5 : 3 });
      picture.append(...[bar, tips(dot, () => `${labels[run]}\n${point[0].toLocaleString("en")} ${page.costs[chosen.cost].unit}\n${percent(point[1])} ${kinds[chosen.kind]}`)].filter(Boolean));
    });
  });
  $("front").append(el("div", { class: "key" }, labels.map((label, run) => el("label", {},
    el("input", { type: "checkbox", checked: !chosen.without.has(run), onchange: (event) => {
      if (event.target.checked) chosen.without.delete(run); else chosen.without.add(run);
      drawFronts();
    } }), svg("svg", { width: 18, height: 10 }, svg("path", { class: `curve ${colour(run)}`, d: "M0 5H18" })), label))));
}

function board() {
  const { points, members, shares } = page.fronts[chosen.cost][chosen.kind];
  const { unit } = page.costs[chosen.cost];
  const order = labels.map((_, run) => run).sort((a, b) => (shares[b] ?? -1) - (shares[a] ?? -1));
  const columns = ["run", "dominated share", "best", `${unit} of the best`, `least ${unit}`, "its accuracy", "cells", "members of the front"];
  const rows = order.map((run) => {
    const each = points[run], best = each.reduce((a, b) => (a === null || b[1] > a[1] ? b : a), null), least = each[0] || null;
    return [labels[run], shares[run], best && best[1], best && best[0], least && least[0], least && least[1], each.length, members[run].length];
  });
  return [columns, rows];
}

function drawBoard() {
  const [columns, rows] = board();
  const text = (value, i) => (value === null ? null : i === 1 ? value.toFixed(4) : i === 2 || i === 5 ? percent(value) : i === 3 || i === 4 ? value.toLocaleString("en") : value);
  $("board").replaceChildren(table(columns, rows.map((row) => row.map(text))));
}

function choose(part) {
  Object.assign(chosen, part);
  for (const [box, value] of [["cost-axis", chosen.cost], ["kind", chosen.kind]]) {
    for (const button of $(box).children) button.setAttribute("aria-pressed", String(button.value === value));
  }
  drawFronts();
  drawBoard();
}

const tab = (name, value, text) => el("button", { type: "button", value, onclick: () => choose({ [name]: value }) }, text);
$("about").textContent = labels.join(" · ") + (page.sameData ? "" : " — of different data: their accuracies are no match for one another");
$("cost-axis").append(...costNames.map((name) => tab("cost", name, name)));
$("kind").append(...known.map((name) => tab("kind", name, kinds[name])));
$("meaning").textContent = "Dominated share: hypervolume within the box between the cheapest and the most expensive, the worst and the best cell of all runs; the larger the better.";
document.querySelector(".tools").append(csvButton("leaderboard", board));
const differing = Object.entries(page.settings).map(([name, values]) => [name, ...values.map((value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : value))]);
$("settings").replaceChildren(...(differing.length
  ? [csvButton("settings", () => [["setting", ...labels], differing]), table(["setting", ...labels], differing)]
  : [el("p", { class: "muted" }, "None: the runs are alike.")]));
redrawn(() => choose({}));
