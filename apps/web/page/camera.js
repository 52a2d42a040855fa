// SPDX-License-Identifier: Apache-2.0
//
// A photograph by the device's camera, as PNG: nothing is lost before the model's own preprocessing.

import {byId} from './dom.js';
import {fill} from './dom.js';
import texts from './texts.js';

/** Opens the dialog; a File, or null where it was cancelled or there is no camera. */
export function takePhotograph() {
  const [dialog, video, take, status] = ['camera-dialog', 'camera-video', 'camera-take', 'camera-status'].map(byId);
  const calls = new AbortController();
  let stream = null;
  take.disabled = true;
  status.textContent = texts.camera.starting;
  dialog.showModal();
  const wanted = {audio: false, video: {facingMode: 'environment', width: {ideal: 1920}, height: {ideal: 1440}}};
  return new Promise((resolve) => {
    const end = (photograph) => {
      calls.abort();
      stream?.getTracks().forEach((track) => track.stop());
      video.srcObject = null;
      if (dialog.open) dialog.close();
      resolve(photograph);
    };
    dialog.addEventListener('close', () => end(null), {signal: calls.signal});
    byId('camera-cancel').addEventListener('click', () => end(null), {signal: calls.signal});
    take.addEventListener('click', async () => {
      take.disabled = true;
      end(await still(video));
    }, {signal: calls.signal});
    navigator.mediaDevices.getUserMedia(wanted).then(async (opened) => {
      if (calls.signal.aborted) return opened.getTracks().forEach((track) => track.stop());
      stream = opened;
      video.srcObject = opened;
      await video.play();
      take.disabled = false;
      status.textContent = texts.camera.ready;
      return take.focus();
    }).catch((error) => { status.textContent = fill(texts.camera.failed, {said: error.message}); });
  });
}

async function still(video) {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext('2d', {willReadFrequently: true, colorSpace: 'srgb'}).drawImage(video, 0, 0);
  return new File([await canvas.convertToBlob({type: 'image/png'})], 'camera.png', {type: 'image/png'});
}
