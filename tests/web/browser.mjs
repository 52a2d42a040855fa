// browser.mjs JOB.json: a site in headless Chromium. Prints one JSON object, what the scenario of that name found.
//
// job: {scenario, modules (node_modules with playwright-core), chromium, site, arguments, ...what the scenario takes}. home: a server's
// address, in the place of a site.
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {extname, join} from 'node:path';
import {TYPES, serve} from './server.mjs';

const job = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const {chromium} = createRequire(join(job.modules, 'any.js'))('playwright-core');
const READY = 120000;

const elsewhere = {home: job.home, server: {close() {}}, state: {requests: [], posted: [], changed: {}}};
const {home, server, state} = job.home ? elsewhere : await serve(job.site, job.answer);
const {requests, posted} = state;

// ---- What a visitor does ----

const browser = await chromium.launch({executablePath: job.chromium, args: ['--no-sandbox', ...(job.arguments ?? [])]});
const errors = [];

async function opened(options = {}, before = async () => {}) {
  const context = await browser.newContext({viewport: {width: 1280, height: 800}, ...options});
  const page = await context.newPage();
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => { if (/Content Security Policy|TrustedType/.test(message.text())) errors.push(message.text()); });
  await page.addInitScript(() => {
    for (const name of ['answered', 'refused', 'checked']) addEventListener(name, ({detail}) => { (window.heard ??= []).push({name, detail}); });
  });
  await before(page, context);
  await page.goto(home);
  await ready(page);
  return page;
}

async function ready(page) {
  await page.waitForFunction(() => document.documentElement.dataset.state, null, {timeout: READY});
  return page.getAttribute('html', 'data-state');
}

/** What the page says of a picture, and what it told by its event. */
async function asked(page, path) {
  await page.evaluate(() => { window.heard = []; });
  await page.setInputFiles('#file', path);
  await page.waitForFunction(() => window.heard.length, null, {timeout: READY});
  const [{name, detail}] = await page.evaluate(() => window.heard);
  const found = {event: name, ...detail, ...(await shown(page))};
  found.numbers = await page.evaluate(() => {
    const hidden = document.querySelector('#answer .anyway');
    if (!hidden) return null;
    const before = hidden.querySelector('.bars').checkVisibility();
    hidden.open = true;
    return {before, warning: hidden.querySelector('.warning').innerText, bars: hidden.querySelectorAll('.bars li').length};
  });
  return found;
}

const shown = (page) => page.evaluate(() => ({
  title: document.querySelector('#answer .verdict-title').lastChild.textContent,
  kind: document.querySelector('#answer .verdict').className.split(' ')[1],
  text: document.querySelector('#answer').innerText,
  status: document.querySelector('#status').textContent,
}));

async function checked(page, accelerator = 'wasm') {
  await page.evaluate(() => { window.heard = []; });
  await page.selectOption('#accelerator', accelerator);
  await page.click('#check');
  await page.waitForFunction(() => window.heard.length || /not be finished/.test(document.querySelector('#check-status').textContent), null, {timeout: 600000});
  const status = await page.textContent('#check-status');
  const [{detail} = {}] = await page.evaluate(() => window.heard);
  const json = detail ? await page.inputValue('#check-json') : null;
  return {status, json, ...detail};
}

// ---- Scenarios ----

const scenarios = {
  /** Answers to job.pictures, and every request after the page was ready. */
  async answers() {
    const page = await opened(job.context);
    const before = requests.length;
    const seen = [];
    page.context().on('request', (request) => { if (!request.url().startsWith('blob:')) seen.push(request.url()); });
    const answers = [];
    for (const path of job.pictures) answers.push(await asked(page, path));
    const check = job.check ? await checked(page) : null;
    return {answers, check, requests: requests.slice(before), seen, offline: await page.textContent('#offline')};
  },

  /** The second visit without the server. */
  async offline() {
    const page = await opened();
    await new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
    await page.goto(home);
    const state = await ready(page);
    const answers = [];
    for (const path of job.pictures) answers.push(await asked(page, path));
    return {state, answers};
  },

  /** A newer version: offered, then used. job.newer: path -> content. */
  async update() {
    const page = await opened();
    state.changed = job.newer;
    await page.evaluate(async () => { await (await navigator.serviceWorker.ready).update(); });
    await page.waitForSelector('#update:not([hidden])', {timeout: READY});
    const old = await page.textContent('#version');
    await Promise.all([page.waitForEvent('load', {timeout: READY}), page.click('#update-now')]);
    await ready(page);
    return {old, version: await page.textContent('#version')};
  },

  /** The runtime from its public host, which the test plays. job.runtime: URL -> file. */
  async host() {
    const fetched = [];
    const page = await opened({}, (_, context) => context.route((url) => url.origin !== new URL(home).origin, (route) => {
      const url = route.request().url();
      fetched.push(url);
      const path = job.runtime[url];
      if (!path) return route.abort();
      return route.fulfill({path, headers: {'access-control-allow-origin': '*', 'content-type': TYPES[extname(path)] ?? 'application/octet-stream'}});
    }));
    const state = await page.getAttribute('html', 'data-state');
    const answers = [];
    if (state === 'ready') for (const path of job.pictures) answers.push(await asked(page, path));
    return {state, fetched, status: await page.textContent('#status'), answers, kept: await page.evaluate(async () => {
      const found = [];
      for (const name of await caches.keys()) if (name.includes('runtime')) found.push(...(await (await caches.open(name)).keys()).map(({url}) => url));
      return found;
    })};
  },

  /** A browser without WebAssembly, and a server that answers job.answer. */
  async server() {
    const page = await opened({}, (p) => p.addInitScript(() => { delete globalThis.WebAssembly; }));
    const state = await page.getAttribute('html', 'data-state');
    const status = await page.textContent('#status');
    if (state !== 'ready') return {state, status};
    const answers = [];
    for (const path of job.pictures) answers.push(await asked(page, path));
    return {state, status, answers, posted, requests: requests.filter((one) => one.startsWith('POST')), where: await page.textContent('#where'),
      remote: await page.textContent('#remote'), heat: await page.evaluate(() => document.querySelector('img.heat')?.getAttribute('src') ?? null)};
  },

  /** axe-core's violations in every state of the page, at job.widths, in both schemes. */
  async accessibility() {
    const axe = readFileSync(join(job.modules, 'axe-core/axe.min.js'), 'utf8');
    const found = [];
    for (const colorScheme of ['light', 'dark'])
      for (const width of job.widths) {
        // axe is brought in by the test, which the page's own policy would refuse
        const page = await opened({viewport: {width, height: 800}, colorScheme, bypassCSP: true});
        const look = async (state) => {
          await page.waitForTimeout(300);
          await page.evaluate(axe);
          const {violations} = await page.evaluate(() => window.axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}));
          const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
          if (wide) violations.push({id: 'wider than the window', nodes: []});
          found.push({colorScheme, width, state, violations: violations.map(({id, nodes}) => [id, ...nodes.map(({html, failureSummary}) => `${html} ${failureSummary}`)])});
        };
        await look('ready');
        for (const [state, path] of Object.entries(job.pictures)) {
          await asked(page, path);
          await page.evaluate(() => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
          await look(state);
        }
        if (job.check && width === job.widths[0]) {
          await checked(page);
          await look('checked');
        }
        await page.context().close();
      }
    return {found};
  },

  /** By keyboard alone: to the button, the file, the answer; and the camera's dialog. */
  async keyboard() {
    const page = await opened({permissions: ['camera']});
    await page.keyboard.press('Tab');
    const first = await page.evaluate(() => document.activeElement.className);
    await page.keyboard.press('Tab');
    const second = await page.evaluate(() => document.activeElement.id);
    const chooser = page.waitForEvent('filechooser');
    await page.keyboard.press('Enter');
    await page.evaluate(() => { window.heard = []; });
    await (await chooser).setFiles(job.pictures[0]);
    await page.waitForFunction(() => window.heard.length, null, {timeout: READY});
    await page.waitForTimeout(100);
    const focused = await page.evaluate(() => document.activeElement.id);
    await page.focus('#heat-strength');
    await page.keyboard.press('End');
    const opacity = await page.evaluate(() => document.querySelector('canvas.heat').style.opacity);
    await page.focus('#camera');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#camera-take:enabled', {timeout: 30000});
    await page.evaluate(() => { window.heard = []; });
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => window.heard.length, null, {timeout: READY});
    const camera = await page.evaluate(() => ({...window.heard[0], open: document.querySelector('dialog').open, live: document.querySelector('video').srcObject}));
    await page.focus('#camera');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#camera-take:enabled', {timeout: 30000});
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => !document.querySelector('dialog').open && !document.querySelector('video').srcObject);
    return {first, second, focused, opacity, camera};
  },

  /** A picture that is dropped. */
  async drop() {
    const page = await opened();
    const base64 = readFileSync(job.pictures[0]).toString('base64');
    await page.evaluate(() => { window.heard = []; });
    await page.evaluate((text) => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      transfer.items.add(new File([bytes], '<img src=x onerror="window.hacked=1">.jpg', {type: 'image/jpeg'}));
      document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }, base64);
    await page.waitForFunction(() => window.heard.length, null, {timeout: READY});
    await page.waitForTimeout(200);
    const label = await page.getAttribute('#answer canvas', 'aria-label');
    return {...(await page.evaluate(() => window.heard[0])), label, hacked: await page.evaluate(() => window.hacked ?? null)};
  },

  /** The check on job.accelerator. */
  async check() {
    const page = await opened();
    return checked(page, job.accelerator);
  },

  /** job.shots: {file, width, scheme, picture, check, part}: PNGs of the page. */
  async screenshots() {
    for (const {file, width, height = 800, scheme, picture, check, whole = true, scale = 1} of job.shots) {
      const page = await opened({viewport: {width, height}, colorScheme: scheme, deviceScaleFactor: scale, reducedMotion: 'reduce'});
      if (picture) await asked(page, picture);
      if (check) await checked(page);
      await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
      await page.waitForTimeout(300);
      await page.screenshot({path: file, fullPage: whole});
      await page.context().close();
    }
    return {};
  },
};

try {
  console.log(JSON.stringify({...(await scenarios[job.scenario]()), errors}));
} finally {
  await browser.close();
  server.close();
}
