// SPDX-License-Identifier: Apache-2.0
//
// The service worker: the page without a network, and newer versions of it.

import {byId} from './dom.js';
import texts from './texts.js';

/** Resolves when the page is kept for offline use, or cannot be. */
export async function keepOffline() {
  const said = byId('offline');
  if (!navigator.serviceWorker) {
    said.textContent = texts.offline.not;
    return;
  }
  try {
    const hadOne = navigator.serviceWorker.controller !== null;
    const registration = await navigator.serviceWorker.register('sw.js');
    offerUpdates(registration, hadOne);
    const installing = registration.installing ?? registration.waiting ?? registration.active;
    await Promise.race([navigator.serviceWorker.ready, failed(installing)]);
    said.textContent = texts.offline.ready;
  } catch {
    said.textContent = texts.offline.not;
  }
}

const failed = (worker) => new Promise((_, reject) => {
  const look = () => { if (worker.state === 'redundant') reject(new Error('not installed')); };
  worker.addEventListener('statechange', look);
  look();
});

function offerUpdates(registration, hadOne) {
  const offer = () => {
    if (!registration.waiting || !navigator.serviceWorker.controller) return;
    byId('update').hidden = false;
    byId('update-now').onclick = () => registration.waiting?.postMessage('use it now');
  };
  registration.addEventListener('updatefound', () => registration.installing?.addEventListener('statechange', offer));
  offer();
  navigator.serviceWorker.addEventListener('controllerchange', () => {
    if (hadOne) location.reload(); // the first one takes a page over that is its own version
    hadOne = true;
  });
}
