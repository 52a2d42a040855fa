// litertjs.mjs JOB: LiteRT.js in headless Chromium. What a worker is given and writes: protocol.py.
//
// options: modules, a node_modules folder with @litertjs/core and playwright-core; chromium, the browser's program;
// accelerator, "wasm" or "webgpu"; arguments, of the browser.
import {appendFileSync, closeSync, createReadStream, existsSync, openSync, readFileSync, readSync, renameSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {createRequire} from 'node:module';
import {extname, join} from 'node:path';

const job = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const {modules, chromium: executablePath, accelerator, arguments: args} = job.options;
const BYTES = {uint8: 1, int8: 1, int32: 4, float32: 4};
const TYPES = {'.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm'};
const PAGE = `<!doctype html><script type="importmap">{"imports": {
  "@litertjs/core": "/node_modules/@litertjs/core/dist/index.js",
  "@litertjs/wasm-utils": "/node_modules/@litertjs/wasm-utils/dist/index.js"}}</script>`;

function write(name, content) {
  writeFileSync(join(job.out, `${name}.part`), JSON.stringify(content));
  renameSync(join(job.out, `${name}.part`), join(job.out, name));
}

function row(number, index) {
  const {file, dtype, shape} = job.inputs[number];
  const length = BYTES[dtype] * shape.reduce((a, b) => a * b, 1);
  const bytes = Buffer.alloc(length);
  const handle = openSync(file, 'r');
  readSync(handle, bytes, 0, length, index * length);
  closeSync(handle);
  return bytes;
}

const server = createServer((request, response) => {
  const parts = decodeURIComponent(new URL(request.url, 'http://localhost').pathname).replaceAll('..', '').slice(1).split('/');
  const send = (type, content) => response.writeHead(200, {'content-type': type}).end(content);
  if (parts[0] === '') return send('text/html', PAGE);
  if (parts[0] === 'model') return send('application/octet-stream', readFileSync(job.model));
  if (parts[0] === 'row') return send('application/octet-stream', row(Number(parts[1]), Number(parts[2])));
  const path = join(modules, ...parts.slice(1));
  if (parts[0] !== 'node_modules' || !existsSync(path)) return response.writeHead(404).end();
  response.writeHead(200, {'content-type': TYPES[extname(path)] ?? 'application/octet-stream'});
  return createReadStream(path).pipe(response);
});

// In the page. What LiteRT.js is given and gives: ports/js/litert.js.
async function load({accelerator, dtypes}) {
  const litert = await import('@litertjs/core');
  await litert.loadLiteRt('/node_modules/@litertjs/core/wasm/');
  if (accelerator === 'webgpu' && !(await navigator.gpu?.requestAdapter())) throw new Error('the browser has no WebGPU adapter');
  const content = new Uint8Array(await (await fetch('/model')).arrayBuffer());
  const start = performance.now();
  const model = await litert.loadAndCompile(content, {accelerator});
  const loadMs = performance.now() - start;
  const inputs = model.getInputDetails(), outputs = model.getOutputDetails();
  window.step = async (index) => {
    const tensors = [];
    for (let i = 0; i < inputs.length; i++) {
      const bytes = await (await fetch(`/row/${i}/${index}`)).arrayBuffer();
      const Typed = {uint8: Uint8Array, int8: Int8Array, int32: Int32Array, float32: Float32Array}[dtypes[i]];
      const values = new Typed(bytes);
      tensors.push(new litert.Tensor(dtypes[i] === 'int8' ? Int32Array.from(values) : values, inputs[i].shape));
    }
    const start = performance.now();
    const results = await model.run(tensors);
    const read = [];
    for (const result of results) {
      const near = result.accelerator === 'wasm' ? result : await result.moveTo('wasm');
      read.push((await near.data()).slice());
      near.delete();
    }
    const ms = performance.now() - start;
    tensors.forEach((tensor) => tensor.delete());
    const text = read.map((values) => Array.from(new Uint8Array(values.buffer), (byte) => String.fromCharCode(byte)).join(''));
    return {ms, outputs: btoa(text.join('')), dtypes: read.map((values) => values.constructor.name)};
  };
  return {
    loadMs,
    accelerator: model.options.accelerator,
    whole: model.isFullyAccelerated,
    outputs: outputs.map(({name, shape, dtype}) => ({name, shape: Array.from(shape), dtype, scale: 0, zero_point: 0})),
  };
}

let stage = 'load';
let browser;
try {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const {chromium} = createRequire(join(modules, 'any.js'))('playwright-core');
  browser = await chromium.launch({executablePath, args: ['--no-sandbox', ...args]});
  const page = await browser.newPage();
  page.on('console', (message) => console.error(message.text()));
  page.on('pageerror', (error) => console.error(error));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const loaded = await page.evaluate(load, {accelerator, dtypes: job.inputs.map(({dtype}) => dtype)});
  const version = JSON.parse(readFileSync(join(modules, '@litertjs/core/package.json'), 'utf8')).version;
  const on = loaded.accelerator === 'wasm' ? null : loaded.accelerator;
  write('facts.json', {
    outputs: loaded.outputs,
    version: `@litertjs/core ${version}, ${await browser.browserType().name()} ${browser.version()}`,
    executed: accelerator === 'wasm' ? null : {
      delegate: on, whole: on !== null && loaded.whole, operators: null, delegated: on ? null : 0, partitions: null,
      left: null, source: 'isFullyAccelerated',
    },
    load_ms: loaded.loadMs,
    runs_in: `Node.js ${process.version}`,
  });
  stage = 'answer';
  for (const index of job.sequence) {
    const {ms, outputs} = await page.evaluate((index) => window.step(index), index);
    appendFileSync(join(job.out, 'outputs.bin'), Buffer.from(outputs, 'base64'));
    appendFileSync(join(job.out, 'milliseconds.bin'), Buffer.from(new Float64Array([ms]).buffer));
  }
  write('done.json', {peak_bytes: null}); // several processes, none of which holds the network alone
} catch (error) {
  const message = String(error.message ?? error).trim() || 'unknown error';
  write('error.json', {stage, message: message.slice(0, 2000)});
  process.exitCode = 1;
} finally {
  await browser?.close();
  server.close();
}
