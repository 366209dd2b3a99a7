// BullMQ's side of the benchmarks: `node load.mjs publish|consume|paced|produce|idle|first '<json>'`. Answers one line of
// JSON, or, where it goes on (`idle`, `first`), a word for each thing that happened.
// Every verb checks what it counted, and ends with an error when a task was lost or came twice.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Queue, Worker } from 'bullmq';

const [verb, json] = process.argv.slice(2);
const args = JSON.parse(json);
const NAME = 'bench';
let connection = { host: '127.0.0.1', port: args.port, maxRetriesPerRequest: null };
// Comparable between processes of one machine.
const now = () => performance.timeOrigin + performance.now();
const digits = (n) => String(n).padStart(20, '0');
// 256 bytes as JSON, quotes included: the task's number, its producer, when it was sent, and filler.
const text = (producer, number, sent) =>
  (digits(producer) + digits(number) + digits(Math.round(sent * 1e6))).padEnd(254, 'x');

async function queue() {
  const queue = new Queue(NAME, { connection, defaultJobOptions: { removeOnComplete: true } });
  await queue.waitUntilReady();
  return queue;
}

// Keeps `in_flight` adds unanswered on each of `connections` queues.
async function publish({ connections, in_flight, warm_up_ms, measured_ms, count, prioritised }) {
  const queues = await Promise.all(Array.from({ length: connections }, queue));
  const start = now();
  const from = start + (warm_up_ms ?? 0);
  const to = count === undefined ? from + measured_ms : Infinity;
  const acked = queues.map(() => 0);
  let counted = 0;
  await Promise.all(queues.flatMap((queue, c) => {
    let sent = 0;
    return Array.from({ length: in_flight }, async () => {
      while (now() < to && sent < (count ?? Infinity)) {
        const number = sent++;
        await queue.add('k', text(c, number, now()), prioritised ? { priority: 1 + (number % 3) } : undefined);
        acked[c]++;
        const at = now();
        if (at >= from && at < to) counted++;
      }
    });
  }));
  const per_s = counted / ((Math.min(now(), to) - from) / 1000);
  await Promise.all(queues.map((queue) => queue.close()));
  return { acked, per_s };
}

// Handles tasks until all of `acked` were there, each once. Calls `each(number, sent_ms, received_ms)`.
async function work(acked, concurrency, each, onReady = () => {}) {
  const seen = acked.map((n) => new Uint8Array(n));
  let left = acked.reduce((a, b) => a + b, 0);
  let done;
  const finished = new Promise((resolve, reject) => { done = { resolve, reject }; });
  const handle = async (job) => {
    const received = now();
    const [producer, number] = [Number(job.data.slice(0, 20)), Number(job.data.slice(20, 40))];
    if (seen[producer]?.[number] !== 0) done.reject(new Error(`task ${producer}/${number} came twice, or was never added`));
    seen[producer][number] = 1;
    each(number, Number(job.data.slice(40, 60)) / 1e6, received);
  };
  const worker = new Worker(NAME, handle, { connection, concurrency });
  worker.on('completed', () => { if (--left === 0) done.resolve(); });
  worker.on('failed', (_, error) => done.reject(error));
  worker.on('error', (error) => done.reject(error));
  await worker.waitUntilReady();
  onReady();
  await finished;
  const at = now();
  const check = await queue();
  const counts = await check.getJobCounts();
  if (Object.values(counts).some((n) => n > 0)) throw new Error(`left over: ${JSON.stringify(counts)}`);
  await Promise.all([check.close(), worker.close()]);
  return at;
}

async function consume({ acked, concurrency }) {
  const start = now();
  return { took_ms: await work(acked, concurrency, () => {}) - start };
}

// Node's timers step by a millisecond, so a task counts from when it was really sent, unless the producer was late by
// more than two steps: then from when it was due.
async function produce({ per_s, tasks }) {
  const out = await queue();
  const start = now() + 5;
  const pending = [];
  await new Promise((resolve) => {
    let number = 0;
    const tick = () => {
      for (const at = now(); number < tasks && start + (number * 1000) / per_s <= at; number++) {
        const due = start + (number * 1000) / per_s;
        pending.push(out.add('k', text(0, number, at - due > 2 ? due : at)));
      }
      if (number < tasks) setTimeout(tick, 1); else resolve();
    };
    tick();
  });
  await Promise.all(pending);
  await out.close();
  return {};
}

// The producer is a process of its own, so that its work does not delay the worker's.
async function paced({ port, per_s, tasks, first_counted, concurrency }) {
  const latencies_ms = [];
  const each = (number, sent, received) => {
    if (number >= first_counted) latencies_ms.push(Math.max(0, received - sent));
  };
  let producer;
  const ended = new Promise((resolve, reject) => {
    const start = () => {
      const child = spawn(process.execPath, [process.argv[1], 'produce', JSON.stringify({ port, per_s, tasks })],
        { stdio: ['ignore', 'ignore', 'inherit'] });
      child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`the producer ended with ${code}`))));
    };
    producer = start;
  });
  await work([tasks], concurrency, each, () => producer());
  await ended;
  return { latencies_ms };
}

const say = (word) => process.stdout.write(word + '\n');

// Workers that have nothing to do, until somebody ends them.
async function idle({ workers }) {
  const all = Array.from({ length: workers }, () => new Worker(NAME, async () => {}, { connection }));
  await Promise.all(all.map((worker) => worker.waitUntilReady()));
  say('idle');
  await new Promise(() => {});
}

// Says when it could begin, is told the port, says when the first task came, and when all of them had come once.
async function first({ acked, concurrency }) {
  say('loaded');
  const [port] = await once(createInterface({ input: process.stdin }), 'line');
  connection = { ...connection, port: Number(port) };
  let told = false;
  await work(acked, concurrency, () => {
    if (!told) say('first');
    told = true;
  });
  say('all');
  process.exit(0);
}

const answer = await { idle, first, publish, consume, produce, paced }[verb](args);
process.stdout.write(JSON.stringify(answer) + '\n');
process.exit(0);
