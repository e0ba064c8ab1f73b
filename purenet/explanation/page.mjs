// The page of `purenet explain`: one example on its way through a network.

import { backward, forward, loss, log_softmax, matmul, step, transpose, zeros } from "./network.mjs";
import { draw, drawCurves, drawPictures, grid, normalise } from "./drawing.mjs";

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const { sizes, classes, l2 } = data;
const depth = sizes.length - 1, side = Math.round(Math.sqrt(sizes[0]));
const last = sizes[depth];

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const rowsOf = (flat, columns) =>
  Array.from({ length: flat.length / columns }, (_, i) =>
    Array.from(flat.subarray(i * columns, (i + 1) * columns)));
const original = {};
for (const [name, text] of Object.entries(data.params)) {
  const flat = new (data.double ? Float64Array : Float32Array)(bytes(text).buffer);
  const k = Number(name.slice(1));
  original[name] = name[0] === "W" ? rowsOf(flat, sizes[k]) : Array.from(flat);
}
const pixels = rowsOf(bytes(data.pixels), sizes[0]);

const number = (v) => (v === 0 ? "0" : Math.abs(v) >= 0.001 && Math.abs(v) < 1e5 ? v.toPrecision(4) : v.toExponential(3));
const scale = Math.fround(data.input_scale);
const scaled = (row) => row.map((v) => (data.double ? v * data.input_scale : Math.fround(Math.fround(v) * scale)));

const state = { params: original, velocity: zeros(original), steps: 0, x: null, y: 0, seen: null };

// Stages: a picture of numbers with an inspector, and all numbers as text.

const show = (id, numbers, shape = grid(numbers.length)) => {
  draw($(id), numbers, shape);
  $(id).numbers = numbers;
  $(`${id}-value`).textContent = ""; // of earlier numbers
  const details = $(`${id}-numbers`);
  const write = () => {
    if (details.open) details.lastElementChild.textContent = numbers.map((v, i) => `[${i}] ${number(v)}`).join("  ");
  };
  details.ontoggle = write;
  write();
};

const inspect = (canvas, index) => {
  const found = canvas.describe ? canvas.describe(index) : [`[${index}]`, canvas.numbers?.[index]];
  if (found?.[1] !== undefined) $(`${canvas.id}-value`).textContent = `${found[0]} = ${number(found[1])}`;
};

for (const canvas of document.querySelectorAll("canvas.numbers")) {
  let place = 0;
  canvas.addEventListener("pointermove", (event) => {
    const i = Math.floor((event.offsetY * canvas.height) / canvas.clientHeight);
    const j = Math.floor((event.offsetX * canvas.width) / canvas.clientWidth);
    place = i * canvas.width + j;
    inspect(canvas, place);
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -canvas.width, ArrowDown: canvas.width }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    place = Math.min(Math.max(place + move, 0), canvas.width * canvas.height - 1);
    inspect(canvas, place);
  });
}

// The first layer: for each unit a picture, whose pixels can be read too.
const showPictures = (id, units) => {
  const canvas = $(id);
  drawPictures(canvas, units, side);
  $(`${id}-value`).textContent = "";
  canvas.describe = (index) => {
    const i = Math.floor(index / canvas.width), j = index % canvas.width, cell = side + 1;
    const q = Math.floor(i / cell) * 20 + Math.floor(j / cell), p = (i % cell) * side + (j % cell);
    return i % cell < side && j % cell < side ? [`[${p}, ${q}]`, units[q]?.[p]] : undefined;
  };
};
const trained = transpose(original.W1);

const probabilitiesOf = (logits) => log_softmax([logits])[0].map(Math.exp);

const bars = (logits, p) => {
  $("classes").replaceChildren(...p.map((p_j, j) => {
    const row = document.createElement("tr");
    if (j === state.y) row.className = "label";
    const cells = [classes[j], number(logits[j]), number(p_j)].map((text, i) => {
      const cell = document.createElement(i ? "td" : "th");
      cell.textContent = text;
      return cell;
    });
    cells[0].scope = "row";
    const bar = document.createElement("td"), meter = document.createElement("meter");
    if (Number.isFinite(p_j)) meter.value = p_j;
    meter.setAttribute("aria-label", `probability of ${classes[j]}`);
    bar.append(meter);
    row.append(...cells, bar);
    return row;
  }));
};

const update = () => {
  const { a, z, loss: J, grads, deltas } = backward(state.params, [state.x], [state.y], l2);
  state.seen = { grads, z, loss: J };
  const logits = z.at(-1)[0], p = probabilitiesOf(logits);
  show("a0", state.x, [side, side]);
  for (let k = 1; k <= depth; k++) {
    if (k < depth) show(`a${k}`, a[k][0]);
    show(`z${k}`, z[k - 1][0]);
    show(`delta${k}`, deltas[k - 1][0]);
    if (k > 1) {
      show(`W${k}-gradient`, transpose(grads[`W${k}`]).flat(), [sizes[k], sizes[k - 1]]);
      $(`W${k}-gradient`).describe = (index) => {
        const p = index % sizes[k - 1], q = Math.floor(index / sizes[k - 1]);
        return [`[${p}, ${q}]`, grads[`W${k}`][p]?.[q]];
      };
    }
    show(`b${k}-gradient`, grads[`b${k}`]);
  }
  showPictures("W1-gradient", transpose(grads.W1));
  showPictures("W1-change", transpose(state.params.W1).map((w, q) => w.map((v, p) => v - trained[q][p])));
  bars(logits, p);
  const best = p.indexOf(Math.max(...p));
  $("answer").textContent = `${classes[best]} (${(100 * p[best]).toFixed(1)} %)`;
  $("loss").textContent = number(J);
  $("cross-entropy").textContent = number(-Math.log(p[state.y]));
  $("probability").textContent = number(p[state.y]);
  $("classes").numbers = p;
  nudge();
};

// The input: one of the bundled examples, the user's picture, or a drawing.

const take = (row, label) => {
  state.x = scaled(row);
  if (label !== undefined) {
    state.y = label;
    $("label").value = label;
  }
  update();
};

const chooseExample = () => {
  const i = $("example").value;
  clearDrawing();
  if (i !== "own") take(pixels[i], data.labels[i]);
  else if (data.picture) take(Array.from(bytes(data.picture)), data.label);
};

const pad = $("drawing"), ink = pad.getContext("2d", { willReadFrequently: true });
const PEN = pad.width / 12;
let pen = null, cursor = [pad.width / 2, pad.height / 2];
const clearDrawing = () => ink.clearRect(0, 0, pad.width, pad.height);
const stroke = (from, to) => {
  ink.lineWidth = PEN;
  ink.lineCap = "round";
  ink.strokeStyle = getComputedStyle(pad).color;
  ink.beginPath();
  ink.moveTo(...from);
  ink.lineTo(...to);
  ink.stroke();
};
const takeDrawing = () => {
  const { data: rgba } = ink.getImageData(0, 0, pad.width, pad.height);
  const rows = Array.from({ length: pad.height }, (_, i) =>
    Array.from({ length: pad.width }, (_, j) => rgba[4 * (i * pad.width + j) + 3] / 255));
  const row = normalise(rows, side);
  if (!row) return;
  $("example").value = "own";
  take(row);
};
const placeOf = (event) => [
  (event.offsetX * pad.width) / pad.clientWidth,
  (event.offsetY * pad.height) / pad.clientHeight,
];
pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  pen = placeOf(event);
  stroke(pen, pen);
});
pad.addEventListener("pointermove", (event) => {
  if (!pen) return;
  const next = placeOf(event);
  stroke(pen, next);
  pen = next;
});
for (const kind of ["pointerup", "pointercancel"])
  pad.addEventListener(kind, () => {
    if (pen) takeDrawing();
    pen = null;
  });
pad.addEventListener("keydown", (event) => {
  const d = pad.width / 24;
  const move = { ArrowLeft: [-d, 0], ArrowRight: [d, 0], ArrowUp: [0, -d], ArrowDown: [0, d] }[event.key];
  if (!move) return;
  event.preventDefault();
  const next = cursor.map((v, i) => Math.min(Math.max(v + move[i], PEN), pad.width - PEN));
  if (!event.shiftKey) {
    stroke(cursor, next);
    takeDrawing();
  }
  cursor = next;
});
$("clear").addEventListener("click", () => {
  $("example").value = data.picture ? "own" : 0;
  chooseExample();
});

// One weight.

const chosen = () => {
  const k = Number($("layer").value);
  const place = (id, most) => Math.min(Math.max(Math.round(Number($(id).value)) || 0, 0), most - 1);
  return [k, place("row", sizes[k - 1]), place("column", sizes[k])];
};
const withWeight = (k, p, q, value) => {
  const W = state.params[`W${k}`].map((row, i) => (i === p ? row.map((w, j) => (j === q ? value : w)) : row));
  return { ...state.params, [`W${k}`]: W };
};
const lossOf = (params) => loss(params, [state.x], [state.y], l2);
const nudge = () => {
  const [k, p, q] = chosen(), w = state.params[`W${k}`][p][q], h = 10 ** Number($("h").value);
  const [below, here, above] = [w - h, w, w + h].map((value) => lossOf(withWeight(k, p, q, value)));
  const rows = {
    "nudge-weight": w, "nudge-h": h, "nudge-below": below, "nudge-here": here, "nudge-above": above,
    "nudge-central": (above - below) / (2 * h), "nudge-left": (here - below) / h,
    "nudge-right": (above - here) / h, "nudge-gradient": state.seen.grads[`W${k}`][p][q],
  };
  for (const [id, value] of Object.entries(rows)) $(id).textContent = value.toPrecision(8);
  $("nudge-z").textContent = k < depth ? number(state.seen.z[k - 1][0][q]) : "no ReLU follows";
};
$("kink").addEventListener("click", () => {
  // The hidden unit nearest to 0, brought to 0 by its bias; the weight of the strongest pixel.
  const z = state.seen.z[0][0], p = state.x.indexOf(Math.max(...state.x));
  const q = z.reduce((best, v, j) => (Math.abs(v) < Math.abs(z[best]) ? j : best), 0);
  const b1 = state.params.b1.map((b, j) => (j === q ? -matmul([state.x], state.params.W1)[0][j] : b));
  state.params = { ...state.params, b1 };
  Object.entries({ layer: 1, row: p, column: q }).forEach(([id, value]) => ($(id).value = value));
  update();
});
for (const id of ["layer", "row", "column", "h"]) $(id).addEventListener("input", nudge);
for (const id of ["layer", "row", "column"])
  $(id).addEventListener("change", () => ["layer", "row", "column"].forEach((name, i) => ($(name).value = chosen()[i])));

// Steps.

const rates = () => [10 ** Number($("rate").value), Number($("momentum").value)];
const showRates = () => {
  const [eta, beta] = rates();
  $("rate-value").textContent = eta.toPrecision(2);
  $("momentum-value").textContent = beta.toFixed(2);
};
for (const id of ["rate", "momentum"]) $(id).addEventListener("input", showRates);
$("step").addEventListener("click", () => {
  const before = state.seen.loss;
  [state.params, state.velocity] = step(state.params, state.velocity, state.seen.grads, ...rates());
  state.steps += 1;
  update();
  $("steps").textContent = `step ${state.steps}: loss ${number(before)} → ${number(state.seen.loss)}`;
});
$("reset").addEventListener("click", () => {
  Object.assign(state, { params: original, velocity: zeros(original), steps: 0 });
  $("steps").textContent = "no step yet";
  update();
});

// A small training.

const HIDDEN = 24, EPOCHS = 15, BATCH = 20;
const small = () => { // He's initialisation, by Box and Muller
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const matrix = (n, m) => Array.from({ length: n }, () => Array.from({ length: m }, () => normal() * Math.sqrt(2 / n)));
  return { W1: matrix(sizes[0], HIDDEN), b1: new Array(HIDDEN).fill(0), W2: matrix(HIDDEN, last), b2: new Array(last).fill(0) };
};
const accuracyOf = (params, from) => {
  const z = forward(params, pixels.slice(from).map(scaled));
  return z.filter((row, i) => row.indexOf(Math.max(...row)) === data.labels[from + i]).length / z.length;
};
$("train").addEventListener("click", async () => {
  $("train").disabled = true;
  const learned = Math.round((2 * pixels.length) / 3), x = pixels.slice(0, learned).map(scaled), y = data.labels.slice(0, learned);
  let params = small(), velocity = zeros(params);
  const losses = [], accuracies = [];
  for (let epoch = 1; epoch <= EPOCHS; epoch++) {
    let total = 0;
    for (let start = 0; start < learned; start += BATCH) {
      const xs = x.slice(start, start + BATCH), ys = y.slice(start, start + BATCH);
      const { loss: J, grads } = backward(params, xs, ys, 0);
      [params, velocity] = step(params, velocity, grads, ...rates());
      total += J * xs.length;
    }
    losses.push(total / learned);
    accuracies.push(accuracyOf(params, learned));
    drawCurves($("curve"), [losses, accuracies], ["#d2691e", "#2a6edc"]);
    $("training").textContent = `epoch ${epoch} of ${EPOCHS}: loss ${number(losses.at(-1))}, ` +
      `accuracy on the ${pixels.length - learned} other examples ${(100 * accuracies.at(-1)).toFixed(0)} %`;
    await new Promise((resolve) => setTimeout(resolve));
  }
  $("train").disabled = false;
});

$("example").addEventListener("input", chooseExample);
$("label").addEventListener("input", () => {
  state.y = Number($("label").value);
  update();
});
showRates();
$("example").value = data.picture ? "own" : data.first;
chooseExample();
