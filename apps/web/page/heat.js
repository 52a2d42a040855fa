// SPDX-License-Identifier: Apache-2.0
//
// A class activation map as a picture to lay over the photograph: as skin-edge draws it.

// Black, blue, magenta, orange, yellow, white: even in lightness, told apart by colour-blind eyes.
const COLOURS = [[0, 0, 4], [60, 9, 101], [140, 41, 99], [214, 82, 51], [251, 164, 10], [252, 255, 164]];

/** Draws one class of the map into a canvas. Brightness goes from its smallest value to its largest. */
export function drawHeat(canvas, {rows, columns, values}, label, labels) {
  const own = Array.from({length: rows * columns}, (_, i) => values[i * labels + label]);
  const least = Math.min(...own);
  const spread = Math.max(...own) - least;
  const levels = own.map((value) => (spread > 0 ? (value - least) / spread : 0));
  const {width, height} = canvas;
  const [down, across] = [weights(rows, height), weights(columns, width)];
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let heat = 0;
      for (const [row, a] of down[y]) for (const [column, b] of across[x]) heat += a * b * levels[row * columns + column];
      heat = Math.min(1, Math.max(0, heat));
      const at = Math.min(COLOURS.length - 2, Math.floor(heat * (COLOURS.length - 1)));
      const part = heat * (COLOURS.length - 1) - at;
      const o = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) image.data[o + c] = COLOURS[at][c] + part * (COLOURS[at + 1][c] - COLOURS[at][c]);
      image.data[o + 3] = 255 * heat; // what adds nothing stays visible
    }
  context.putImageData(image, 0, 0);
}

// Of each of `target` samples the sources and their weights: bicubic, a = -0.5, edges renormalised.
function weights(n, target) {
  const cubic = (x) => {
    const d = Math.abs(x);
    return d < 1 ? (1.5 * d - 2.5) * d * d + 1 : d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  };
  return Array.from({length: target}, (_, i) => {
    const centre = ((i + 0.5) * n) / target - 0.5;
    const first = Math.max(0, Math.floor(centre) - 1);
    const found = [];
    for (let x = first; x <= Math.min(n - 1, Math.floor(centre) + 2); x++) found.push([x, cubic(x - centre)]);
    const total = found.reduce((sum, [, weight]) => sum + weight, 0);
    return found.map(([x, weight]) => [x, weight / total]);
  });
}
