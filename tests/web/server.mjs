// A static server, as any other, which remembers what it was asked.
import {createReadStream, existsSync, statSync} from 'node:fs';
import {createServer} from 'node:http';
import {extname, join} from 'node:path';

export const TYPES = {'.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.wasm': 'application/wasm'};

/**
 * Serves the folder `site` on loopback; every POST is answered by `answer`.
 *
 * Returns {home, server, state: {requests, posted, changed}}: changed, path -> content in the place of the file's.
 */
export async function serve(site, answer) {
  const state = {requests: [], posted: [], changed: {}};
  const server = createServer((request, response) => {
    const {pathname} = new URL(request.url, 'http://localhost');
    state.requests.push(`${request.method} ${request.url}`);
    if (request.method === 'POST') {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        state.posted.push(Buffer.concat(parts).toString('latin1'));
        response.writeHead(200, {'content-type': 'application/json'}).end(JSON.stringify(answer));
      });
      return null;
    }
    const path = join(site, decodeURIComponent(pathname).replaceAll('..', ''), pathname.endsWith('/') ? 'index.html' : '');
    const headers = {'content-type': TYPES[extname(path)] ?? 'application/octet-stream'};
    if (state.changed[pathname]) return response.writeHead(200, headers).end(state.changed[pathname]);
    if (!existsSync(path) || statSync(path).isDirectory()) return response.writeHead(404).end();
    response.writeHead(200, headers);
    return createReadStream(path).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {home: `http://127.0.0.1:${server.address().port}/`, server, state};
}
