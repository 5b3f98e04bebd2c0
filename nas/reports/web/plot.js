/* Axes, and small plots with a few curves. */

function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((n) => n * power >= raw * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(Number((n * step).toPrecision(12)));
  return found;
}

function logTicks(low, high) {
  const among = (parts) => {
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
      for (const part of parts) {
        const value = Number((part * 10 ** e).toPrecision(6));
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    }
    return found;
  };
  const decades = among([1]);
  if (decades.length > 5) return decades.filter((_, i) => i % Math.ceil(decades.length / 5) === 0);
  if (decades.length >= 3) return decades;
  const more = among([1, 2, 5]);
  return more.length >= 3 ? more : among([1, 1.5, 2, 3, 4, 5, 6, 8]);
}

/* Draws axes into a box. `x` and `y` have low, high, log, format, label. Returns the picture, and
   functions from values to pixels. */
function axes(box, { x, y, height, title }) {
  const width = Math.max(220, box.clientWidth || 320);
  const left = 44, right = 10, top = 8, bottom = x.label ? 38 : 22;
  const scale = (axis, start, end) => {
    const to = axis.log ? Math.log : Number;
    const low = to(axis.low), span = to(axis.high) - low || 1;
    return (value) => start + (end - start) * (to(value) - low) / span;
  };
  const px = scale(x, left, width - right), py = scale(y, height - bottom, top);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });
  const yTicks = y.log ? logTicks(y.low, y.high) : ticks(y.low, y.high, Math.max(3, height / 45));
  for (const value of yTicks) {
    picture.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: py(value), y2: py(value) }),
      svg("text", { x: left - 6, y: py(value), "text-anchor": "end", "dominant-baseline": "central" }, y.format(value)));
  }
  let edge = -Infinity;
  for (const value of x.log ? logTicks(x.low, x.high) : ticks(x.low, x.high, Math.max(2, width / 90))) {
    const text = x.format(value), half = 3.2 * text.length;
    if (px(value) - half < edge + 6 || px(value) + half > width + 2) continue;
    edge = px(value) + half;
    picture.append(svg("text", { x: px(value), y: height - bottom + 15, "text-anchor": "middle" }, text));
  }
  if (x.label) picture.append(svg("text", { class: "label", x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, x.label));
  box.replaceChildren(picture);
  return { picture, px, py, width, height, top, bottom, left, right };
}

function extent(values, margin = 0.06) {
  let low = Math.min(...values), high = Math.max(...values);
  if (!(low < high)) { const pad = Math.abs(low) * 0.05 || 0.5; low -= pad; high += pad; }
  const pad = (high - low) * margin;
  return { low: low - pad, high: high + pad };
}

function logExtent(values, margin = 0.05) {
  const range = extent(values.map(Math.log), margin);
  return { low: Math.exp(range.low), high: Math.exp(range.high), log: true };
}

/* Logarithmic where values span more than a factor of ten. */
function costExtent(values) {
  const least = Math.min(...values), most = Math.max(...values);
  return least > 0 && most / least > 10 ? logExtent(values) : { ...extent(values), log: false };
}

const line = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/* A plot of one panel of the document. `now` is a value along the axis to be marked, if any. */
function panel(box, spec, now) {
  const known = spec.curves.flatMap((curve) => curve.values.flatMap((value, i) => {
    const spread = (curve.spread && curve.spread[i]) || 0;
    return value === null ? [] : [value - spread, value + spread];
  }));
  const at = spec.end ? [...spec.at, spec.end] : spec.at;
  const x = spec.logAlong ? logExtent(at, 0) : extent(at, 0);
  const y = spec.logValues && Math.min(...known) > 0 ? logExtent(known) : extent(known);
  const format = spec.title.startsWith("accuracy") ? (v) => `${digits(100 * v)} %` : short;
  const host = el("div", { class: "plot" });
  box.replaceChildren(el("h3", {}, spec.title), host);
  const drawn = axes(host, { x: { ...x, format: short }, y: { ...y, format }, height: 150, title: spec.title });
  spec.curves.forEach((curve, i) => {
    const points = curve.values.map((v, j) => [v, j]).filter(([v]) => v !== null);
    const at = ([v, j], sign = 0) => [drawn.px(spec.at[j]), drawn.py(v + sign * ((curve.spread && curve.spread[j]) || 0))];
    if (curve.spread) {
      const outline = [...points.map((p) => at(p, 1)), ...points.reverse().map((p) => at(p, -1))];
      points.reverse();
      drawn.picture.append(svg("path", { class: `spread curve-${i}`, d: `${line(outline)}Z` }));
    }
    drawn.picture.append(points.length > 1
      ? svg("path", { class: `curve curve-${i}`, d: line(points.map((p) => at(p))) })
      : svg("circle", { class: `curve curve-${i}`, cx: at(points[0] || [known[0], 0])[0], cy: at(points[0] || [known[0], 0])[1], r: 2 }));
  });
  if (spec.curves.length > 1) {
    box.append(el("div", { class: "key" }, spec.curves.map((curve, i) => el("span", {},
      svg("svg", { width: 16, height: 8 }, svg("path", { class: `curve curve-${i}`, d: "M0 4H16" })), curve.name))));
  }
  if (now !== null && now !== undefined) {
    drawn.picture.append(svg("line", { class: "now", x1: drawn.px(now), x2: drawn.px(now), y1: drawn.top, y2: drawn.height - drawn.bottom }));
  }
  return drawn;
}

function panelsCsv(specs) {
  const [first] = specs;
  const columns = [first.along, ...specs.flatMap((spec) => spec.curves.map((curve) => `${spec.title}: ${curve.name}`))];
  return [columns, first.at.map((at, i) => [at, ...specs.flatMap((spec) => spec.curves.map((curve) => curve.values[i]))])];
}

/* Calls `draw` now, and again whenever the window gets another width. */
function redrawn(draw) {
  let width = innerWidth, waiting = 0;
  draw();
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  });
}
