// SPDX-License-Identifier: Apache-2.0
//
// VERSION and FILES, path -> SHA-384, stand above. All files of one version are kept together, so that no page meets the
// model of another. A new version waits until the page says so or is closed everywhere.

const CACHE = `skin-edge-page-${VERSION}`;
const PATHS = new Set(Object.keys(FILES).map((path) => new URL(path, self.registration.scope).href));
const HOME = new URL('index.html', self.registration.scope).href;

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    await Promise.all(Object.entries(FILES).map(async ([path, integrity]) => {
      const request = new Request(path, {integrity, cache: 'no-cache', credentials: 'same-origin'});
      const response = await fetch(request);
      if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
      await cache.put(path, response);
    }));
  })());
});

self.addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys())
      if (name.startsWith('skin-edge-page-') && name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener('message', ({data}) => {
  if (data === 'use it now') self.skipWaiting();
});

self.addEventListener('fetch', (event) => {
  const {request} = event;
  if (request.method !== 'GET') return;
  const url = new URL(request.url);
  url.hash = '';
  if (request.mode === 'navigate' && url.href.split('?')[0] === self.registration.scope) {
    // A link with a query may be meant for the server, which offline is not there.
    const home = () => fromCache(HOME);
    event.respondWith(url.search ? fetch(request).catch(home) : home());
  } else if (PATHS.has(url.href)) {
    event.respondWith(fromCache(url.href));
  } else if (!url.href.startsWith(new URL('v1/', self.registration.scope).href)) {
    event.respondWith(caches.match(url.href).then((found) => found ?? fetch(request)));
  }
});

async function fromCache(url) {
  const cache = await caches.open(CACHE);
  return (await cache.match(url)) ?? fetch(url);
}
