// SPDX-License-Identifier: Apache-2.0
//
// The page: opens the model, takes photographs, shows answers.

import {answered, refusal, unfit} from './answer.js';
import {Trouble, openHere, openServer} from './assessor.js';
import {takePhotograph} from './camera.js';
import {offerCheck} from './check-view.js';
import {byId, drawn, element, fill} from './dom.js';
import {showModel} from './model-view.js';
import {keepOffline} from './offline.js';
import {CannotAssess, inWords} from './port/skin-edge.js';
import texts from './texts.js';

const host = location.host;
let assessor = null;
let asked = 0; // photographs so far: an answer that comes after the next question is dropped

async function start() {
  const config = await (await fetch('config.json')).json();
  byId('version').textContent = fill(texts.footer.version, {...config, runtime: config.runtime.version});
  const facts = fetch('model.json').then((response) => response.json()).then(showModel);
  try {
    assessor = await openHere(config);
    byId('where').textContent = texts.where.device;
    await offerCheck(assessor, config);
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    const reason = fill(texts.trouble[error.code], {said: error.said});
    if (!config.server || error.code === 'model') throw new Error(reason);
    assessor = await openServer(config);
    byId('where').textContent = fill(texts.where.server, {host});
    byId('remote').append(element('p', {className: 'strong'}, texts.remote.title), element('p', {}, fill(texts.remote.said, {reason, host})));
    byId('remote').hidden = false;
  }
  byId('notice').textContent = assessor.model.notice;
  byId('choose').disabled = byId('camera').disabled = false;
  await facts;
  byId('status').textContent = texts.status.ready;
  await keepOffline();
  document.documentElement.dataset.state = 'ready';
}

/** Assesses a Blob with a name and shows the answer. */
async function ask(file) {
  if (!assessor || !file) return;
  const turn = ++asked;
  const name = file.name || texts.choose.title;
  const status = byId('status');
  status.textContent = fill(texts.status.working, {name});
  byId('drop').classList.add('working');
  byId('answer').hidden = true;
  await drawn();
  let shown, said, told;
  try {
    const answer = await assessor.assess(file);
    if (!answer.assessable) throw new CannotAssess(inWords(answer.reasons), answer.reasons, answer);
    shown = await answered(assessor.model, answer, file);
    const {label, probabilities, decisions, possible} = answer;
    told = ['answered', {label, probabilities, decisions, possible, ms: answer.ms ?? null}];
    said = answer.ms === undefined ? fill(texts.status.done_server, {host}) : fill(texts.status.done, {ms: Math.round(answer.ms)});
  } catch (error) {
    // Whatever went wrong ends here, and never in a class.
    const message = error?.name === 'CannotAssess' ? error.message : String(error?.message ?? error);
    const reasons = error?.reasons ?? [];
    told = ['refused', {error: message, reasons: reasons.map(({reason}) => reason)}];
    shown = reasons.length ? await unfit(assessor.model, reasons, error.answer, name) : refusal(message || 'unknown', name, {host, most: 256});
    said = fill(texts.status.refused, {name});
  }
  if (turn !== asked) return;
  byId('drop').classList.remove('working');
  byId('answer-body').replaceChildren(...shown);
  byId('answer').hidden = false;
  status.textContent = said;
  byId('answer-title').focus({preventScroll: true});
  byId('answer').scrollIntoView({block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'});
  // For a page around this one, and for tests.
  dispatchEvent(new CustomEvent(told[0], {detail: {name, ...told[1]}}));
}

function listen() {
  for (const id of ['file', 'capture'])
    byId(id).addEventListener('change', ({target}) => {
      ask(target.files[0]);
      target.value = ''; // so that the same file can be chosen again
    });
  byId('choose').addEventListener('click', () => byId('file').click());
  byId('camera').addEventListener('click', async () => {
    // Phones have an app for it, whose photographs are larger than a video's.
    if (matchMedia('(pointer: coarse)').matches || !navigator.mediaDevices?.getUserMedia) byId('capture').click();
    else ask(await takePhotograph());
  });
  const drop = byId('drop');
  const over = (is) => drop.classList.toggle('over', is);
  // Anywhere on the page, or the browser would leave the page for the picture.
  addEventListener('dragover', (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener('dragleave', ({relatedTarget}) => { if (!relatedTarget) over(false); });
  addEventListener('drop', (event) => {
    event.preventDefault();
    over(false);
    ask(event.dataTransfer?.files[0]);
  });
  addEventListener('paste', ({clipboardData}) => ask(clipboardData?.files[0]));
}

listen();
start().catch((error) => {
  byId('status').textContent = fill(texts.status.broken, {reason: error.message});
  document.documentElement.dataset.state = 'broken';
});
