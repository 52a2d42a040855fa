// SPDX-License-Identifier: Apache-2.0
//
// The check's result in the form of `skin-edge bench --result-json`; what a browser does not tell is null.

/** checked: of `check`. opened, config: of the page. facts: model.json. */
export async function resultOf(checked, opened, config, facts) {
  const {answers, latency, ...check} = checked;
  const browser = await about();
  const [height, width] = facts.input;
  return {
    measured_at: new Date().toISOString(),
    model: {path: 'model.tflite', sha256: facts.sha256, name: facts.name, precision: facts.precision, input: `${height}x${width}`},
    machine: {
      board: browser.model, cpu: null, cores: navigator.hardwareConcurrency ?? null, architecture: browser.architecture,
      // rounded by the browser, and never above 8 or 32 GiB
      memory_bytes: navigator.deviceMemory ? navigator.deviceMemory * 2 ** 30 : null,
      governor: null, temperature_c: null, throttled: null, load_average: null, os: browser.os, kernel: null, python: null,
      skin_edge: config.skin_edge, browser: browser.name,
      versions: {browser: browser.name, 'LiteRT.js': config.runtime.version},
      temperature_after_c: null, throttled_after: null,
    },
    size: {file_bytes: facts.bytes, network_bytes: null, archive_bytes: null},
    memory: {peak_bytes: null, measured: 'not known to a page'},
    latency: {init_ms: opened.loadMs, ...latency},
    cold_start: null,
    accuracy: null,
    engine: {name: `litertjs-${opened.network.accelerator}`, accelerator: opened.network.accelerator, whole: opened.network.whole, build: opened.build},
    check,
    warnings: [],
  };
}

async function about() {
  const data = navigator.userAgentData;
  const agent = navigator.userAgent;
  if (!data?.getHighEntropyValues) {
    const [name] = /(Firefox|Version|Chrome)\/[\d.]+/.exec(agent) ?? [agent];
    return {name: name.replace('Version/', 'Safari '), os: /\(([^;)]+)/.exec(agent)?.[1] ?? null, architecture: null, model: null};
  }
  const told = await data.getHighEntropyValues(['architecture', 'bitness', 'model', 'platformVersion', 'fullVersionList']);
  const brand = told.fullVersionList?.find((one) => !/not.?a.?brand/i.test(one.brand) && one.brand !== 'Chromium') ??
    told.fullVersionList?.find(({brand: named}) => named === 'Chromium');
  const names = {x86: told.bitness === '64' ? 'x86_64' : 'x86', arm: told.bitness === '64' ? 'aarch64' : 'arm'};
  return {
    name: brand ? `${brand.brand} ${brand.version}` : agent,
    os: [told.platform ?? data.platform, told.platformVersion].filter(Boolean).join(' ') || null,
    architecture: names[told.architecture] ?? (told.architecture || null),
    model: told.model || null,
  };
}
