// SPDX-License-Identifier: Apache-2.0
//
// JPEG decoding by the browser. EXIF and the profile are taken out of the file before, so that the browser acts on
// neither; the pixels are read at full size, never drawn smaller.

import {decodeJpeg as decodeExactly} from './jpeg.js';
import {CannotAssess, jpegEnds, plainJpeg} from './skin-edge.js';

export async function decodeJpeg(file, {channels}) {
  if (!jpegEnds(file)) throw new CannotAssess('the picture is damaged or truncated');
  // Chromium's own conversion of CMYK is off by 1 in every second byte.
  if (channels === 4) return decodeExactly(file);
  const bitmap = await createImageBitmap(plainJpeg(file));
  const {width, height} = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  // Without willReadFrequently the canvas may lie on a GPU, whose results depend on its driver.
  const context = canvas.getContext('2d', {willReadFrequently: true, colorSpace: 'srgb'});
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return {data: context.getImageData(0, 0, width, height).data, width, height, layout: 'rgba'};
}
