/* A search in which λ generates the weights: its table along λ, pruning, training. */

const { settings, columns, rows } = page;
const lamColumn = columns.indexOf("lam");
const shown = { at: Math.floor((rows.length - 1) / 2) };
let hashTimer = 0;

function drawAll() {
  const lam = rows.length ? rows[shown.at][lamColumn] : null;
  page.along.forEach((spec, i) => panel($("along").children[i], spec, lam));
  page.pruned.forEach((spec, i) => panel($("pruned").children[i], spec));
  page.panels.forEach((spec, i) => panel($("panels").children[i], spec));
}

function show(at) {
  shown.at = Math.min(rows.length - 1, Math.max(0, at));
  const row = rows[shown.at], lam = row[lamColumn], run = page.run.path;
  $("lam").value = shown.at;
  $("lam").setAttribute("aria-valuetext", `λ = ${digits(lam)}`);
  $("readouts").replaceChildren(...columns.map((name, i) => [name, row[i]]).filter(([name]) => !name.endsWith("_std")).map(([name, value]) =>
    el("div", { class: "readout", title: String(value) }, el("span", {}, name === "lam" ? "λ" : name.replace(/_/g, " ")),
      el("b", {}, name.endsWith("accuracy") ? percent(value) : name === "lam" ? digits(value) : short(value)))));
  /* A few digits less than a double has, but never outside of the range. */
  const written = Math.min(rows.at(-1)[lamColumn], Math.max(rows[0][lamColumn], Number(lam.toPrecision(9))));
  $("commands").replaceChildren(copyable("generate", `python -m nas generate ${run} --lam ${written}`),
    copyable("prune", `python -m nas prune ${run} --lam ${written} --by ${settings.weights === "point" ? "magnitude" : "density"}`));
  page.along.forEach((spec, i) => panel($("along").children[i], spec, lam));
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => history.replaceState(null, "", `#lam=${digits(lam, 6)}`), 150);
}

function readHash(hash) {
  const lam = Number(new URLSearchParams(hash.slice(1)).get("lam"));
  const far = (row) => Math.abs(Math.log(row[lamColumn] / lam));
  show(lam > 0 ? rows.reduce((best, row, i) => (far(row) < far(rows[best]) ? i : best), 0) : shown.at);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  const at = { ArrowLeft: shown.at - 1, ArrowRight: shown.at + 1, Home: 0, End: rows.length - 1 }[event.key];
  if (at === undefined) return;
  show(at);
  event.preventDefault();
}

$("name").textContent = page.run.name;
$("about").textContent = `${settings.data} · layers ${settings.layers.join(" ")} · ${settings.weights} weights · ${settings.epochs} epochs · seed ${settings.seed}`;
for (const name of ["along", "pruned", "panels"]) {
  $(name).append(...page[name].map(() => el("div", {})));
  $(name).parentElement.hidden = !page[name].length;
}
if (page.panels.length) $("training").querySelector(".tools").append(csvButton("training", () => panelsCsv(page.panels)));
if (rows.length) $("table").replaceChildren(csvButton("front", () => [columns, rows]), table(columns, rows.map((row) => row.map((value) => digits(value, 6)))));
$("table-section").hidden = !rows.length;
settingsTable(settings);
follow();
redrawn(drawAll);
if (page.along.length) {
  $("dial").hidden = $("use").hidden = false;
  $("lam").max = rows.length - 1;
  $("lam").addEventListener("input", () => show(Number($("lam").value)));
  document.addEventListener("keydown", keys);
  addEventListener("hashchange", (event) => readHash(new URL(event.newURL).hash));
  readHash(location.hash);
}
