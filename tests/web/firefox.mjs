// firefox.mjs JOB.json: a site in headless Firefox, as Debian has it. Prints what it answers to job.pictures, and its check.
//
// job: {modules (node_modules with puppeteer-core), firefox, site, pictures, check}.
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {serve} from './server.mjs';

const job = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const puppeteer = createRequire(join(job.modules, 'any.js'))('puppeteer-core');
const {home, server, state} = await serve(job.site, null);
const browser = await puppeteer.launch({browser: 'firefox', executablePath: job.firefox, headless: true, protocolTimeout: 900000});
const errors = [];
try {
  const page = await browser.newPage();
  page.on('pageerror', (error) => errors.push(error.message));
  await page.evaluateOnNewDocument(() => {
    for (const name of ['answered', 'refused', 'checked']) addEventListener(name, ({detail}) => { (window.heard ??= []).push({name, detail}); });
  });
  const heard = async () => {
    await page.waitForFunction(() => window.heard.length, {timeout: 600000});
    const [{name, detail}] = await page.evaluate(() => window.heard);
    return {event: name, ...detail};
  };
  await page.goto(home);
  await page.waitForFunction(() => document.documentElement.dataset.state, {timeout: 120000});
  const before = state.requests.length;
  const answers = [];
  for (const path of job.pictures) {
    await page.evaluate(() => { window.heard = []; });
    await (await page.$('#file')).uploadFile(path);
    answers.push(await heard());
  }
  let check = null;
  if (job.check) {
    await page.evaluate(() => {
      window.heard = [];
      document.querySelector('#check').click();
    });
    check = await heard();
  }
  console.log(JSON.stringify({answers, check, requests: state.requests.slice(before), errors, version: await browser.version()}));
} finally {
  await browser.close();
  server.close();
}
