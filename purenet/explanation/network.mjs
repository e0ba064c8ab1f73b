// The multilayer perceptron of purenet in plain JavaScript, in float64.
//
// A matrix is an array of rows. x is (batch, features), W is (in, out), y holds integer labels.
// params is {W1, b1, ..., WL, bL}.

export const matmul = (a, b) => {
  const columns = b[0].length;
  return a.map((row) => {
    const sum = new Array(columns).fill(0);
    row.forEach((a_ik, k) => {
      const b_k = b[k];
      for (let j = 0; j < columns; j++) sum[j] += a_ik * b_k[j];
    });
    return sum;
  });
};

export const transpose = (a) => a[0].map((_, j) => a.map((row) => row[j]));

const columnSums = (a) => a[0].map((_, j) => a.reduce((sum, row) => sum + row[j], 0));

// z = x W + b
export const linear = (x, W, b) => matmul(x, W).map((row) => row.map((z, j) => z + b[j]));

// a = max(z, 0) = z [z > 0], where NaN stays NaN
export const relu = (z) => z.map((row) => row.map((v) => v * (v > 0)));

export const linear_relu = (x, W, b) => relu(linear(x, W, b));

// ∂J/∂x = δ Wᵀ, ∂J/∂W = xᵀ δ, ∂J/∂b = Σ_i δ_i
export const linear_backward = (x, W, delta) => [
  matmul(delta, transpose(W)),
  matmul(transpose(x), delta),
  columnSums(delta),
];

// δ ⊙ [z > 0]: the derivative of max(z, 0) at 0 is 0
export const relu_backward = (delta, z) =>
  delta.map((row, i) => row.map((d, j) => (z[i][j] > 0 ? d : 0)));

// log p = z - max z - log Σ exp(z - max z)
export const log_softmax = (z) =>
  z.map((row) => {
    const top = row.reduce((a, b) => Math.max(a, b));
    const logSum = Math.log(row.reduce((sum, v) => sum + Math.exp(v - top), 0));
    return row.map((v) => v - top - logSum);
  });

// -(1/n) Σ_i log p[i, y_i]
export const softmax_cross_entropy = (z, y) => {
  const logP = log_softmax(z);
  return -y.reduce((sum, label, i) => sum + logP[i][label], 0) / y.length;
};

// (p - t) / n, with t one-hot
export const softmax_cross_entropy_backward = (z, y) =>
  log_softmax(z).map((row, i) =>
    row.map((logP, j) => (Math.exp(logP) - (j === y[i])) / y.length),
  );

const map = (f, ...arrays) =>
  Array.isArray(arrays[0]) ? arrays[0].map((_, i) => map(f, ...arrays.map((a) => a[i]))) : f(...arrays);

// v ← β v + (1 - β) g, then p ← p - η v
export const momentum_step = (p, v, g, learning_rate, momentum) => {
  const velocity = map((v_i, g_i) => momentum * v_i + (1 - momentum) * g_i, v, g);
  return [map((p_i, v_i) => p_i - learning_rate * v_i, p, velocity), velocity];
};

const layers = (params) => {
  const pairs = [];
  for (let k = 1; `W${k}` in params; k++) pairs.push([params[`W${k}`], params[`b${k}`]]);
  return pairs;
};

// All that a network computes on the way: a_0 = x, z_k = a_{k-1} W_k + b_k, a_k = max(z_k, 0).
export const activations = (params, x) => {
  const a = [x], z = [];
  for (const [W, b] of layers(params)) {
    z.push(linear(a.at(-1), W, b));
    a.push(relu(z.at(-1)));
  }
  return { a: a.slice(0, -1), z };
};

export const forward = (params, x) => activations(params, x).z.at(-1);

const penalty = (params, l2) => {
  const squares = layers(params).map(([W]) => W.flat().reduce((sum, w) => sum + w * w, 0));
  return (l2 / 2) * squares.reduce((a, b) => a + b);
};

// J = cross-entropy + ½ l2 Σ W²
export const loss = (params, x, y, l2) =>
  softmax_cross_entropy(forward(params, x), y) + penalty(params, l2);

// δ_L = (p - t)/n, ∂J/∂W_k = a_{k-1}ᵀ δ_k + l2 W_k, ∂J/∂b_k = Σ_i δ_k, δ_{k-1} = δ_k W_kᵀ ⊙ [z > 0]
export const backward = (params, x, y, l2) => {
  const { a, z } = activations(params, x);
  const pairs = layers(params), grads = {}, deltas = [];
  let delta = softmax_cross_entropy_backward(z.at(-1), y);
  for (let k = pairs.length; k >= 1; k--) {
    deltas[k - 1] = delta;
    const [W] = pairs[k - 1];
    const [dx, dW, db] = linear_backward(a[k - 1], W, delta);
    grads[`W${k}`] = map((g, w) => g + l2 * w, dW, W);
    grads[`b${k}`] = db;
    if (k > 1) delta = relu_backward(dx, z[k - 2]);
  }
  const value = softmax_cross_entropy(z.at(-1), y) + penalty(params, l2);
  return { loss: value, grads, deltas, a, z };
};

// One step on all parameters.
export const step = (params, velocity, grads, learning_rate, momentum) => {
  const next = {}, moved = {};
  for (const name of Object.keys(params)) {
    [next[name], moved[name]] = momentum_step(
      params[name], velocity[name], grads[name], learning_rate, momentum,
    );
  }
  return [next, moved];
};

export const zeros = (params) =>
  Object.fromEntries(Object.entries(params).map(([name, p]) => [name, map(() => 0, p)]));

// Epochs over the batches in their order, from velocity 0.
export const train = (params, x, y, { learning_rate, momentum, l2, batch_size, epochs }) => {
  let velocity = zeros(params);
  const losses = [];
  for (let epoch = 0; epoch < epochs; epoch++) {
    let total = 0;
    for (let start = 0; start < x.length; start += batch_size) {
      const xs = x.slice(start, start + batch_size), ys = y.slice(start, start + batch_size);
      const { loss: value, grads } = backward(params, xs, ys, l2);
      total += value * xs.length;
      [params, velocity] = step(params, velocity, grads, learning_rate, momentum);
    }
    losses.push(total / x.length);
  }
  return { losses, params, velocity };
};
