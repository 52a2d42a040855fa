// SPDX-License-Identifier: Apache-2.0
//
// An embedded ICC profile -> sRGB, relative colorimetric, in double precision: for profiles of a matrix and curves (RGB) or a
// curve (grey), which is what cameras and phones write. Within 1 of Little CMS, so level B. Others are refused.

import {CannotAssess, profileTag} from './skin-edge.js';

// XYZ of D50 -> linear sRGB.
const TO_SRGB = [
  [3.1338561, -1.6168667, -0.4906146],
  [-0.9787684, 1.9161415, 0.0334540],
  [0.0719453, -0.2289914, 1.4052427],
];

const refused = () => new CannotAssess('the colour profile is of a kind that is not applied here');
const numbers = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const kind = (bytes) => String.fromCharCode(...bytes.subarray(0, 4));

function colorant(profile, name) {
  const tag = profileTag(profile, name);
  if (!tag || kind(tag) !== 'XYZ ' || tag.length < 20) throw refused();
  return [8, 12, 16].map((at) => numbers(tag).getInt32(at) / 65536);
}

// Linear light of each byte.
function curve(profile, name) {
  const tag = profileTag(profile, name);
  if (!tag) throw refused();
  const read = numbers(tag);
  let linear;
  if (kind(tag) === 'curv') {
    const count = read.getUint32(8);
    if (tag.length < 12 + 2 * count) throw refused();
    const table = Array.from({length: count}, (_, i) => read.getUint16(12 + 2 * i));
    if (count === 0) linear = (x) => x;
    else if (count === 1) linear = (x) => x ** (table[0] / 256);
    else linear = (x) => {
      const at = x * (count - 1);
      const low = Math.min(Math.floor(at), count - 2);
      return (table[low] + (table[low + 1] - table[low]) * (at - low)) / 65535;
    };
  } else if (kind(tag) === 'para') {
    const type = read.getUint16(8);
    const length = [1, 3, 4, 5, 7][type];
    if (!length || tag.length < 12 + 4 * length) throw refused();
    const [g, a = 1, b = 0, c, d, e = 0, f = 0] = Array.from({length}, (_, i) => read.getInt32(12 + 4 * i) / 65536);
    const power = (x) => Math.max(0, a * x + b) ** g;
    linear = {
      0: power,
      1: (x) => (x >= -b / a ? power(x) : 0),
      2: (x) => (x >= -b / a ? power(x) + c : c),
      3: (x) => (x >= d ? power(x) : c * x),
      4: (x) => (x >= d ? power(x) + e : c * x + f),
    }[type];
  } else {
    throw refused();
  }
  return Float64Array.from({length: 256}, (_, byte) => linear(byte / 255));
}

function encoded(linear) {
  const x = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055));
}

/** RGB bytes in the colours of `profile` -> sRGB, in place. grey: the picture and its profile are grey. */
export function toSrgb(rgb, profile, grey) {
  if (profileTag(profile, 'A2B0') || profileTag(profile, 'A2B1')) throw refused();
  if (grey) {
    const table = Uint8Array.from(curve(profile, 'kTRC'), encoded);
    for (let i = 0; i < rgb.length; i++) rgb[i] = table[rgb[i]];
    return;
  }
  const curves = ['rTRC', 'gTRC', 'bTRC'].map((name) => curve(profile, name));
  const columns = ['rXYZ', 'gXYZ', 'bXYZ'].map((name) => colorant(profile, name));
  const matrix = TO_SRGB.map((row) => columns.map((xyz) => row.reduce((sum, value, i) => sum + value * xyz[i], 0)));
  for (let i = 0; i < rgb.length; i += 3) {
    const linear = [0, 1, 2].map((c) => curves[c][rgb[i + c]]);
    matrix.forEach((row, c) => { rgb[i + c] = encoded(row[0] * linear[0] + row[1] * linear[1] + row[2] * linear[2]); });
  }
}
