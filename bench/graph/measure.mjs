// Measures what ./run names, and prints it. Each figure is the median of its rounds, with their range.
import { execFile, spawn } from 'node:child_process';
import { appendFile, cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import WebSocket from 'ws';

const run = promisify(execFile);
const { SQUALL, ANALYZE, TREE } = process.env;
const ROUNDS = Number(process.env.ROUNDS ?? 3);
const SUBSCRIBERS = 100;
const EDITS = 100;

const sorted = (values) => [...values].sort((a, b) => a - b);
const at = (values, share) => sorted(values)[Math.min(values.length - 1, Math.floor(values.length * share))];
const told = (values, digits = 2) =>
  `${at(values, 0.5).toFixed(digits)} (${Math.min(...values).toFixed(digits)} – ${Math.max(...values).toFixed(digits)})`;

async function timed(work) {
  const begun = performance.now();
  const answer = await work();
  return [(performance.now() - begun) / 1000, answer];
}

/** Cold analysis beside bare parsing and ctags, in turn. */
async function cold() {
  const seconds = { analysis: [], parsing: [], ctags: [] };
  let said = '';
  for (let round = 0; round < ROUNDS; round += 1) {
    const { stdout } = await run(ANALYZE, ['--read-only', TREE], { maxBuffer: 1 << 24 });
    said = stdout.split('\n')[0];
    seconds.analysis.push(Number(/ in ([\d.]+) s/.exec(said)[1]));
    const parsed = (await run(ANALYZE, ['--parse-only', TREE])).stdout;
    seconds.parsing.push(Number(/ in ([\d.]+) s/.exec(parsed)[1]));
    const languages = '--languages=JavaScript,TypeScript';
    const [took] = await timed(() => run('ctags', ['-R', languages, '--map-TypeScript=+.tsx', '-f', '/dev/null', TREE], { maxBuffer: 1 << 24 }));
    seconds.ctags.push(took);
  }
  console.log(said);
  console.log(`cold analysis      ${told(seconds.analysis)} s`);
  console.log(`bare parsing       ${told(seconds.parsing)} s   analysis takes ${told(seconds.analysis.map((s, i) => s / seconds.parsing[i]))} times as long`);
  console.log(`universal-ctags    ${told(seconds.ctags)} s   analysis takes ${told(seconds.analysis.map((s, i) => s / seconds.ctags[i]))} times as long`);
}

/** A gateway of its own that reads a copy of the tree. */
async function gateway(tree) {
  const dir = await mkdtemp(join(tmpdir(), 'squall-bench-graph-'));
  const config = join(dir, 'squall.toml');
  await writeFile(
    config,
    `[server]\nlisten = "127.0.0.1:0"\ndata_dir = ${JSON.stringify(join(dir, 'data'))}\n[log]\nlevel = "warn"\n` +
      `[graph]\nroot = ${JSON.stringify(tree)}\n[tasks]\ndefault_lane = "a"\n[lanes.a]\n`,
  );
  const child = spawn(SQUALL, ['serve', '--config', config], { stdio: ['ignore', 'pipe', 'inherit'] });
  const url = await new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`the gateway ended with ${code}`)));
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
      const found = /listening on (\S+)/.exec(text);
      if (found) resolve(found[1]);
    });
  });
  const stop = async () => {
    child.removeAllListeners('exit');
    const ended = new Promise((resolve) => child.on('exit', resolve));
    child.kill('SIGTERM');
    await ended;
    await rm(dir, { recursive: true, force: true });
  };
  return { url, stop };
}

const stats = async (url) => (await fetch(`${url}/api/graph/stats`)).json();

/** From writing a file until each of 100 subscribers has the event, as a browser gets it: in batches, compressed. */
async function latency(url, tree) {
  let until = await stats(url);
  while (until.status !== 'idle') {
    await new Promise((resolve) => setTimeout(resolve, 100));
    until = await stats(url);
  }
  console.log(`tree of ${until.files} files, ${until.total_nodes} nodes, ${until.total_relationships} relationships`);
  let waiting = null;
  const sockets = await Promise.all(
    Array.from({ length: SUBSCRIBERS }, () => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/ws/events?topics=graph&batch=true`);
      socket.on('message', (data) => {
        const text = data.toString();
        if (waiting && text.includes(waiting.name)) waiting.heard();
      });
      return new Promise((resolve, reject) => {
        socket.on('open', () => resolve(socket));
        socket.on('error', reject);
      });
    }),
  );
  // From all over the tree, always the same.
  const all = (await readdir(tree, { recursive: true })).filter((name) => name.endsWith('.js')).sort();
  const files = Array.from({ length: EDITS }, (_, edit) => all[Math.floor((edit * all.length) / EDITS)]);
  const each = [];
  const firsts = [];
  const analyses = [];
  for (let edit = 0; edit < EDITS; edit += 1) {
    const name = `bench_edit_${edit}_`;
    const begun = performance.now();
    let left = SUBSCRIBERS;
    const heard = new Promise((resolve) => {
      waiting = { name, heard: () => (left === SUBSCRIBERS && firsts.push(performance.now() - begun), each.push(performance.now() - begun), (left -= 1) === 0 && resolve()) };
    });
    await appendFile(join(tree, files[edit]), `\nfunction ${name}() {}\n`);
    await heard;
    analyses.push((await stats(url)).last_run.elapsed_seconds * 1000);
  }
  sockets.forEach((socket) => socket.terminate());
  console.log(`change → ${SUBSCRIBERS} subscribers  p50 ${at(each, 0.5).toFixed(1)} ms, p95 ${at(each, 0.95).toFixed(1)} ms, max ${Math.max(...each).toFixed(1)} ms   (20 ms of it is waiting for the tree to be quiet)`);
  console.log(`the first of them          p50 ${at(firsts, 0.5).toFixed(1)} ms, p95 ${at(firsts, 0.95).toFixed(1)} ms`);
  console.log(`re-analysis of one file    p50 ${at(analyses, 0.5).toFixed(1)} ms, p95 ${at(analyses, 0.95).toFixed(1)} ms, max ${Math.max(...analyses).toFixed(1)} ms`);
}

/** Questions, asked by the storm. */
async function questions(url) {
  const dir = await mkdtemp(join(tmpdir(), 'squall-bench-graph-'));
  for (const path of ['/api/graph/stats', '/api/graph/categories/hubs', '/api/graph/categories/entry_points', '/api/graph/categories/leaves']) {
    const scenario = join(dir, 'questions.toml');
    await writeFile(
      scenario,
      `name = "questions"\n[[load]]\nworkload = "http"\npath = "${path}"\nstatus = [200]\nexecutor = "constant-vus"\nvus = 16\nduration = "5s"\n` +
        '[thresholds]\nhttp_req_failed = "rate==0"\n',
    );
    await run(SQUALL, ['run', scenario, '--target', url, '--out', dir], { maxBuffer: 1 << 24 });
    const [latest] = (await readdir(dir)).filter((name) => name.includes('-questions')).sort().reverse();
    const record = JSON.parse(await readFile(join(dir, latest, 'run.json'), 'utf8'));
    const service = record.metrics.find((metric) => metric.name === 'http_req_service' || metric.metric === 'http_req_service');
    const values = service.values ?? service;
    const count = values.count;
    const rate = count / (record.duration.load_ms / 1000);
    const p95 = values.p95 ?? values['p(95)'];
    console.log(`${path.padEnd(38)} ${Math.round(rate)} requests/s (${(rate / 361).toFixed(0)} times 361), p95 ${p95} ms`);
  }
  await rm(dir, { recursive: true, force: true });
}

if (!process.env.SKIP_COLD) await cold();
const copy = await mkdtemp(join(tmpdir(), 'squall-bench-tree-'));
await cp(TREE, copy, { recursive: true });
const { url, stop } = await gateway(copy);
try {
  await latency(url, copy);
  await questions(url);
} finally {
  await stop();
  await rm(copy, { recursive: true, force: true });
}
