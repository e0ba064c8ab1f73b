// Check a program in JavaScript by the vectors. Node 18 or later, no other dependency.
//
//     node vectors/examples/check.mjs [PROGRAM.mjs] [--precision float64] [--results FILE]
//
// PROGRAM.mjs exports the operations; by default it is the one behind `purenet explain`. FILE gets
// the results for `purenet vectors check`.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const folder = dirname(here);
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    precision: { type: "string", default: "float64" },
    results: { type: "string" },
  },
});
const path = positionals[0] ?? join(folder, "..", "purenet", "explanation", "network.mjs");
const program = await import(pathToFileURL(resolve(path)));

// safetensors: eight bytes for the length of the header, the header in JSON, the numbers.
const readTensors = (file) => {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  return Object.fromEntries(
    Object.entries(header).map(([name, { data_offsets: [start, end] }]) => {
      const data = bytes.subarray(8 + length + start, 8 + length + end);
      const numbers = Array.from({ length: data.length / 8 }, (_, i) => data.readDoubleLE(8 * i));
      return [name, numbers];
    }),
  );
};
const tensors = readTensors(join(folder, "tensors.safetensors"));

// null stands for NaN.
const numbers = (array, part) =>
  "tensor" in array
    ? tensors[`${array.tensor}/${part}`]
    : array[part]?.map((number) => number ?? NaN);

const shaped = (flat, shape) => {
  if (shape.length === 0) return flat[0];
  if (shape.length === 1) return flat;
  const [rows, columns] = shape;
  return Array.from({ length: rows }, (_, i) => flat.slice(i * columns, (i + 1) * columns));
};

const paramsOf = (inputs) =>
  Object.fromEntries(Object.entries(inputs).filter(([name]) => /^[Wb][0-9]+$/.test(name)));

const prefixed = (velocity) =>
  Object.fromEntries(Object.entries(velocity).map(([name, v]) => [`velocity.${name}`, v]));

// Returns the results of a case by their names.
const run = (operation, inputs, outputs) => {
  const params = paramsOf(inputs);
  const { x, y, l2 } = inputs;
  switch (operation) {
    case "forward":
      return { logits: program.forward(params, x) };
    case "loss":
      return { loss: program.loss(params, x, y, l2) };
    case "backward": {
      const { loss, grads } = program.backward(params, x, y, l2);
      return { loss, ...grads };
    }
    case "train": {
      const result = program.train(params, x, y, inputs);
      return { losses: result.losses, ...result.params, ...prefixed(result.velocity) };
    }
    default: {
      const results = program[operation](...Object.values(inputs));
      const all = outputs.length === 1 ? [results] : results;
      return Object.fromEntries(outputs.map((name, i) => [name, all[i]]));
    }
  }
};

// Returns what is wrong with a result, or nothing.
const compare = (name, got, array) => {
  const flat = [got].flat(Infinity);
  const high = numbers(array, "high"), low = numbers(array, "low");
  const error = numbers(array, `error.${options.precision}`);
  if (flat.length !== high.length) return `${name} has ${flat.length} numbers, not ${high.length}`;
  for (let i = 0; i < high.length; i++) {
    const right = Number.isNaN(high[i])
      ? Number.isNaN(flat[i])
      : Math.abs(flat[i] - high[i] - low[i]) <= error[i];
    if (!right) return `${name}[${i}] is ${flat[i]}, exact ${high[i]}, within ${error[i]}`;
  }
};

const operations = [
  "linear", "linear_relu", "linear_backward", "relu_backward", "log_softmax",
  "softmax_cross_entropy", "softmax_cross_entropy_backward", "momentum_step",
  "forward", "loss", "backward", "train",
];
let tried = 0, failed = 0;
const results = {};
for (const operation of operations) {
  const { cases, notes } = JSON.parse(readFileSync(join(folder, `${operation}.json`), "utf8"));
  for (const { name, flags, inputs, outputs } of cases) {
    const given = Object.entries(inputs).map(([key, array]) => [
      key,
      shaped(numbers(array, "values"), array.shape),
    ]);
    const bounded = Object.values(outputs).every((o) => numbers(o, `error.${options.precision}`));
    if (!bounded) continue; // a format that does not hold the inputs
    tried += 1;
    let problem;
    try {
      results[name] = run(operation, Object.fromEntries(given), Object.keys(outputs));
      problem = Object.entries(outputs)
        .map(([key, array]) => compare(key, results[name][key], array))
        .find(Boolean);
    } catch (error) {
      problem = String(error);
    }
    if (problem) {
      failed += 1;
      console.log(`${name}: ${problem}`);
      flags.forEach((flag) => console.log(`  ${flag}: ${notes[flag]}`));
    }
  }
}
if (options.results) {
  const text = { program: path, precision: options.precision, results };
  const words = (_, n) => (typeof n === "number" && !Number.isFinite(n) ? String(n) : n);
  writeFileSync(options.results, JSON.stringify(text, words));
}
console.log(`${tried - failed} of ${tried} cases are right`);
process.exitCode = failed ? 1 : 0;
