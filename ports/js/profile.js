// SPDX-License-Identifier: Apache-2.0
//
// An embedded ICC profile -> sRGB, relative colorimetric: for profiles of a matrix and curves (RGB) or a curve (grey), which is
// what cameras and phones write. RGB in the fixed-point numbers of Little CMS 2 (cmsopt.c, 8 bits), so its very bytes; grey within 1 of it. Others are refused.

import {CannotAssess, profileTag} from './skin-edge.js';

// XYZ of D50 -> linear sRGB: the inverse of its primaries, adapted by Bradford's matrix.
const TO_SRGB = inverse(adapted());

function adapted() {
  const white = [0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290];
  const primaries = [[0.64, 0.30, 0.15], [0.33, 0.60, 0.06], [0.03, 0.10, 0.79]]; // x, y, z of red, green, blue
  const bradford = [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
  const share = times(inverse(primaries), white.map((x) => [x]));
  const cones = (xyz) => times(bradford, xyz.map((x) => [x]));
  const [from, to] = [cones(white), cones([0.9642, 1, 0.8249])];
  const scaled = bradford.map((row, i) => row.map((x) => (x * to[i][0]) / from[i][0]));
  return times(times(inverse(bradford), scaled), primaries.map((row) => row.map((x, i) => x * share[i][0])));
}

function times(a, b) {
  return a.map((row) => b[0].map((_, j) => row.reduce((sum, x, k) => sum + x * b[k][j], 0)));
}

function inverse(m) {
  const cofactor = (i, j) => {
    const [a, b] = [0, 1, 2].filter((row) => row !== i);
    const [c, d] = [0, 1, 2].filter((column) => column !== j);
    return ((i + j) % 2 ? -1 : 1) * (m[a][c] * m[b][d] - m[a][d] * m[b][c]);
  };
  const determinant = [0, 1, 2].reduce((sum, j) => sum + m[0][j] * cofactor(0, j), 0);
  return [0, 1, 2].map((i) => [0, 1, 2].map((j) => cofactor(j, i) / determinant));
}

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
    else linear = (x) => interpolated(table, Math.floor(x * 65535 + 0.5)) / 65535;
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
  return Float64Array.from({length: 256}, (_, byte) => Math.fround(linear(Math.fround(byte / 255))));
}

// Between two entries of a table, in numbers of 16 bits and a fraction of 16 more.
function interpolated(table, at) {
  if (at === 65535) return table[table.length - 1];
  const place = at * (table.length - 1);
  const fixed = place + Math.floor((place + 0x7fff) / 0xffff);
  const [low, rest] = [Math.floor(fixed / 65536), fixed % 65536];
  return table[low] + Math.floor(((table[low + 1] - table[low]) * rest + 0x8000) / 65536);
}

// Linear light, 0..1, as sRGB's byte.
function encoded(linear) {
  const x = Math.min(1, Math.max(0, linear));
  const value = Math.fround(x >= ((0.04045 + 0.055) / 1.055) ** 2.4 ? 1.055 * x ** (1 / 2.4) - 0.055 : 12.92 * x);
  const wide = Math.floor(Math.min(1, value) * 65535 + 0.5);
  return Math.floor((wide * 65281 + 8388608) / 2 ** 24) & 255;
}

const ONE = 16384; // in numbers with 14 bits behind the point
const fixed = (x) => Math.floor(x * ONE + 0.5);

/** RGB bytes in the colours of `profile` -> sRGB, in place. grey: the picture and its profile are grey. */
export function toSrgb(rgb, profile, grey) {
  if (profileTag(profile, 'A2B0') || profileTag(profile, 'A2B1')) throw refused();
  if (grey) {
    const table = Uint8Array.from(curve(profile, 'kTRC'), encoded);
    for (let i = 0; i < rgb.length; i++) rgb[i] = table[rgb[i]];
    return;
  }
  const [red, green, blue] = ['rTRC', 'gTRC', 'bTRC'].map((name) => Int32Array.from(curve(profile, name), fixed));
  const columns = ['rXYZ', 'gXYZ', 'bXYZ'].map((name) => colorant(profile, name));
  const [a, b, c] = times(TO_SRGB, [0, 1, 2].map((i) => columns.map((xyz) => xyz[i]))).map((row) => row.map(fixed));
  const table = Uint8Array.from({length: ONE + 1}, (_, i) => encoded(Math.fround(i / ONE)));
  const byte = (sum) => table[Math.min(ONE, Math.max(0, (sum + ONE / 2) >> 14))];
  for (let i = 0; i < rgb.length; i += 3) {
    const [r, g, l] = [red[rgb[i]], green[rgb[i + 1]], blue[rgb[i + 2]]];
    rgb[i] = byte(a[0] * r + a[1] * g + a[2] * l);
    rgb[i + 1] = byte(b[0] * r + b[1] * g + b[2] * l);
    rgb[i + 2] = byte(c[0] * r + c[1] * g + c[2] * l);
  }
}
