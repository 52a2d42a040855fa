// chromium.mjs PORT NODE_MODULES MODEL CHROMIUM QUERY PICTURE...: ports/js/sample.html in headless Chromium, one answer a line.
import {createReadStream, existsSync, readFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {createRequire} from 'node:module';
import {basename, extname, join} from 'node:path';

const [port, modules, model, executablePath, query, ...pictures] = process.argv.slice(2);
const {chromium} = createRequire(join(modules, 'any.js'))('playwright-core');
const types = {'.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm'};

const server = createServer((request, response) => {
  const name = decodeURIComponent(new URL(request.url, 'http://localhost').pathname).replaceAll('..', '');
  let path = join(port, name);
  if (name === '/model.tflite') path = model;
  if (name.startsWith('/node_modules/')) path = join(modules, name.slice('/node_modules/'.length));
  if (!existsSync(path)) return response.writeHead(404).end();
  response.writeHead(200, {'content-type': types[extname(path)] ?? 'application/octet-stream'});
  return createReadStream(path).pipe(response);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const browser = await chromium.launch({executablePath, args: ['--no-sandbox']});
try {
  const page = await browser.newPage();
  page.on('console', (message) => console.error(message.text()));
  page.on('pageerror', (error) => console.error(error));
  await page.goto(`http://127.0.0.1:${server.address().port}/sample.html${query}`);
  await page.waitForFunction(() => document.querySelector('#answer').textContent !== 'loading', null, {timeout: 120000});
  for (const path of pictures) {
    const answer = await page.evaluate(async (base64) => {
      const {sha256} = await import('./skin-edge.js');
      try {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        const {upright, rgb, features, assessable, reasons, ...answer} = await window.assess(bytes).catch((error) => {
          if (!error.answer) throw error;
          const {label, probabilities, decisions, possible, ...others} = error.answer; // no class
          return {...others, error: error.message};
        });
        const text = Array.from(rgb, (byte) => String.fromCharCode(byte)).join('');
        const measured = features && {features, assessable, reasons: reasons.map(({reason}) => reason)};
        return {
          upright: {width: upright.width, height: upright.height, sha256: sha256(upright.data)},
          input: {sha256: sha256(rgb), base64: btoa(text)},
          ...measured, ...answer,
        };
      } catch (error) {
        if (error.name !== 'CannotAssess') throw error;
        return {error: error.message};
      }
    }, readFileSync(path).toString('base64'));
    console.log(JSON.stringify({file: path, ...answer}));
  }
} finally {
  await browser.close();
  server.close();
}
