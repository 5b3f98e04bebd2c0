/* The state of the page of a search for cells: a λ of each cost, a pin, an epoch; how it changes. */

const axesOfLam = page.axes, counts = axesOfLam.map((axis) => axis.count);
const costNames = Object.keys(page.costs), { history: past } = page;
const state = { at: counts.map((count) => Math.floor((count - 1) / 2)), pin: null, cost: axesOfLam[0].cost in page.costs ? axesOfLam[0].cost : costNames[0], epoch: null };
const columns = page.cells.map((text) => Array.from(text, (digit) => parseInt(digit, 36)));
const views = { front: () => {}, lanes: () => {}, panels: () => {}, strips: [], inputs: [], pins: [] };
let shownCell = -1, shownKey = "", waiting = 0, hashTimer = 0;

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
