// SPDX-License-Identifier: Apache-2.0
//
// LiteRT.js: from the site itself, or from another host, whose files are compared with their digests before they run.

// A module that only browsers with relaxed SIMD accept.
const RELAXED = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15,
  65, 2, 253, 15, 253, 128, 2, 11);
// One with SIMD, without which no build runs.
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);

const CACHE = 'skin-edge-runtime-';

/** Whether this browser can run the runtime at all. */
export const runs = () => typeof WebAssembly === 'object' && WebAssembly.validate(SIMD);

const scripts = new Set(['sw.js']);
// The page's policy lets a script be named by its URL only if it is one of these.
globalThis.trustedTypes?.createPolicy('default', {
  createScriptURL(url) {
    if (scripts.has(url)) return url;
    throw new TypeError(`not a script of this page: ${url}`);
  },
});

/**
 * Loads LiteRT.js as config.runtime says.
 *
 * Returns {litert, build: "relaxed SIMD" or "SIMD"}. Throws where a file is missing or has another digest.
 */
export async function loadRuntime({own, files, version}) {
  const relaxed = WebAssembly.validate(RELAXED);
  const [core, utils] = [files.core, files.utils];
  const [loader, wasm] = relaxed ? [files.loader, files.wasm] : [files.compatible_loader, files.compatible_wasm];
  const cache = await kept(version);
  const [binary, source, ...others] = await Promise.all([wasm, loader, core, utils].map((file) => fetched(file, cache)));
  let coreUrl = new URL(core.url, document.baseURI).href;
  let loaderUrl = new URL(loader.url, document.baseURI).href;
  if (!own) {
    const utilsUrl = script(others[1]);
    const text = new TextDecoder().decode(others[0]).replace('"@litertjs/wasm-utils"', JSON.stringify(utilsUrl));
    coreUrl = script(text);
    loaderUrl = `${script(source)}#.js`; // LiteRT.js takes what does not end so for a folder
  }
  scripts.add(loaderUrl);
  const litert = await import(coreUrl);
  globalThis.Module = {wasmBinary: binary};
  await litert.loadLiteRt(loaderUrl);
  return {litert, build: relaxed ? 'relaxed SIMD' : 'SIMD'};
}

const script = (content) => URL.createObjectURL(new Blob([content], {type: 'text/javascript'}));

// The files are kept for offline use, those of earlier versions are not. Without https there is no cache.
async function kept(version) {
  if (!globalThis.caches) return null;
  try {
    for (const name of await caches.keys())
      if (name.startsWith(CACHE) && name !== CACHE + version) await caches.delete(name);
    return await caches.open(CACHE + version);
  } catch {
    return null; // storage is switched off
  }
}

async function fetched(file, cache) {
  try {
    return await once(file, cache);
  } catch (error) {
    if (!(await cache?.delete(file.url))) throw error;
    return once(file, cache); // what was kept was of no use
  }
}

async function once({url, integrity}, cache) {
  const isOwn = new URL(url, document.baseURI).origin === location.origin;
  const response = await fetch(url, {integrity, credentials: isOwn ? 'same-origin' : 'omit'});
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  const copy = cache && !(await cache.match(url)) ? response.clone() : null;
  const bytes = await response.arrayBuffer();
  if (copy) await cache.put(url, copy).catch(() => {}); // no room: then not offline
  return bytes;
}
