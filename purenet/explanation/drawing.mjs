// Pictures of numbers, and drawings as the network takes them.

// Cuts the ink of a drawing out, scales it to a box of 20/28 of the side by averaging, and puts its
// centre of mass in the middle, as purenet.pictures.normalise does. ink holds rows of numbers from
// 0 to 1. Returns side * side numbers from 0 to 255, or null if there is no ink.
export const normalise = (ink, side) => {
  const rows = ink.map((row) => row.some((v) => v > 0.3));
  const columns = ink[0].map((_, j) => ink.some((row) => row[j] > 0.3));
  if (!rows.includes(true)) return null;
  const top = rows.indexOf(true), left = columns.indexOf(true);
  const height = rows.lastIndexOf(true) + 1 - top, width = columns.lastIndexOf(true) + 1 - left;
  const scale = Math.max(1, Math.round((side * 20) / 28)) / Math.max(height, width);
  const h = Math.max(1, Math.round(height * scale)), w = Math.max(1, Math.round(width * scale));
  // Each pixel averages the part of the drawing that it covers.
  const overlap = (from, to, i) => Math.max(0, Math.min(to, i + 1) - Math.max(from, i));
  const small = Array.from({ length: h }, (_, r) => {
    const y0 = (r * height) / h, y1 = ((r + 1) * height) / h;
    return Array.from({ length: w }, (_, c) => {
      const x0 = (c * width) / w, x1 = ((c + 1) * width) / w;
      let sum = 0;
      for (let i = Math.floor(y0); i < Math.min(height, Math.ceil(y1)); i++)
        for (let j = Math.floor(x0); j < Math.min(width, Math.ceil(x1)); j++)
          sum += ink[top + i][left + j] * overlap(y0, y1, i) * overlap(x0, x1, j);
      return sum / ((y1 - y0) * (x1 - x0));
    });
  });
  const most = small.flat().reduce((m, v) => Math.max(m, v));
  const place = (masses, n) => {
    const total = masses.reduce((a, b) => a + b);
    const centre = masses.reduce((sum, mass, i) => sum + mass * (i + 0.5), 0) / total;
    return Math.min(Math.max(Math.ceil(side / 2 - centre), 0), side - n);
  };
  const down = place(small.map((row) => row.reduce((a, b) => a + b)), h);
  const right = place(small[0].map((_, j) => small.reduce((sum, row) => sum + row[j], 0)), w);
  const pixels = new Array(side * side).fill(0);
  small.forEach((row, i) =>
    row.forEach((v, j) => (pixels[(down + i) * side + right + j] = Math.round((255 * v) / most))),
  );
  return pixels;
};

export const grid = (count) => {
  const columns = Math.ceil(Math.sqrt(count * (count > 20 ? 2 : count)));
  return [Math.ceil(count / columns), Math.min(columns, count)];
};

// Negative numbers are blue, positive ones orange; the stronger, the larger beside the largest.
export const colour = (v, most) => {
  const alpha = most > 0 ? Math.min(1, Math.abs(v) / most) : 0;
  return [...(v < 0 ? [40, 110, 220] : [235, 120, 20]), Math.round(255 * alpha)];
};

// Draws numbers in a canvas as cells of a grid.
export const draw = (canvas, numbers, [rows, columns]) => {
  const most = numbers.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const image = new ImageData(columns, rows);
  numbers.forEach((v, i) => image.data.set(colour(v, most), 4 * i));
  canvas.width = columns;
  canvas.height = rows;
  canvas.getContext("2d").putImageData(image, 0, 0);
};

// Draws pictures of side * side numbers beside each other, on one scale.
export const drawPictures = (canvas, pictures, side) => {
  const columns = Math.min(pictures.length, 20), rows = Math.ceil(pictures.length / columns);
  const most = pictures.reduce((m, p) => p.reduce((n, v) => Math.max(n, Math.abs(v)), m), 0);
  canvas.width = columns * (side + 1);
  canvas.height = rows * (side + 1);
  const context = canvas.getContext("2d");
  pictures.forEach((numbers, q) => {
    const image = new ImageData(side, side);
    numbers.forEach((v, i) => image.data.set(colour(v, most), 4 * i));
    context.putImageData(image, (q % columns) * (side + 1), Math.floor(q / columns) * (side + 1));
  });
};

// Draws curves between 0 and their largest number.
export const drawCurves = (canvas, curves, colours) => {
  const context = canvas.getContext("2d"), { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  curves.forEach((curve, k) => {
    const most = Math.max(...curve, 1e-9);
    context.beginPath();
    context.lineWidth = 2;
    context.strokeStyle = colours[k];
    curve.forEach((v, i) =>
      context.lineTo(5 + (i * (width - 10)) / Math.max(1, curve.length - 1), height - 5 - (v / most) * (height - 10)),
    );
    context.stroke();
  });
};
