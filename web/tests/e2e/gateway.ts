// A real gateway of a test file's own: a `squall serve` with a configuration and data in a temporary directory. The
// program is `SQUALL`, or the debug build.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const PROGRAM = resolve(process.env.SQUALL ?? '../target/debug/squall');

const LANES = `
[tasks]
default_lane = "gpt4"
[sessions]
max_concurrent = 100
max_per_tenant = 100
[lanes.gpt4]
concurrency = 50
[lanes.gpt4.retry]
max = 0
[lanes.crude]
priority = "low"
`;

export interface Settings {
  /** More of the configuration, as TOML. */
  toml?: string;
  /** Tokens that it wants: name and scopes; the token is the name and `-secret`. */
  tokens?: Record<string, string[]>;
  /** Whose some of them are, by name. */
  tenants?: Record<string, string>;
}

export class Gateway {
  private child: ChildProcess | undefined;
  private said = '';
  port = 0;

  private constructor(
    readonly directory: string,
    private readonly settings: Settings,
  ) {}

  static async start(settings: Settings = {}): Promise<Gateway> {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is not there: build it, or say where it is in SQUALL`);
    const gateway = new Gateway(await mkdtemp(join(tmpdir(), 'squall-console-')), settings);
    await gateway.begin();
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts the process; the port stays what it was. `data` names another store. */
  async begin(data = 'data'): Promise<void> {
    const tokens = Object.entries(this.settings.tokens ?? {}).map(
      ([name, scopes]) =>
        `[[auth.tokens]]\nname = "${name}"\ntenant = "${this.settings.tenants?.[name] ?? 'default'}"\nsha256 = "${createHash('sha256').update(`${name}-secret`).digest('hex')}"\nscopes = ${JSON.stringify(scopes)}\n`,
    );
    const server = `[server]\nlisten = "127.0.0.1:${this.port}"\ndata_dir = "${join(this.directory, data)}"\n`;
    const file = join(this.directory, 'squall.toml');
    await writeFile(file, [server, LANES, this.settings.toml ?? '', ...tokens].join('\n'));
    this.said = '';
    const child = spawn(PROGRAM, ['serve', '--config', file], { cwd: this.directory, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    const listens = new Promise<number>((listening, failed) => {
      const hear = (chunk: Buffer) => {
        this.said += chunk.toString();
        const address = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(this.said);
        if (address) listening(Number(address[1]));
      };
      child.stdout?.on('data', hear);
      child.stderr?.on('data', hear);
      child.once('exit', (code) => failed(new Error(`squall serve ended with ${code}:\n${this.said}`)));
    });
    this.port = await listens;
    await until(async () => (await fetch(`${this.url}/ready`)).ok);
  }

  /** SIGKILL: nothing is said goodbye to. */
  async kill(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Asks the API; throws when it refuses. */
  async ask<T = unknown>(method: string, path: string, body?: unknown, token?: string): Promise<T> {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'Content-Type': 'application/json', ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  /** Is there such an address? What this build has not is left out, and said. */
  async has(path: string): Promise<boolean> {
    return (await fetch(this.url + path)).status !== 404;
  }

  publish(number: number, task: Record<string, unknown> = {}): Promise<unknown> {
    return this.ask('POST', '/v1/tasks', Array.from({ length: number }, (_, n) => ({ kind: 'greet', payload: { n }, ...task })));
  }

  /** Takes one task of a lane. */
  async take(lane = 'gpt4'): Promise<{ id: string; receipt: string }> {
    const { tasks } = await this.ask<{ tasks: { id: string; receipt: string }[] }>('POST', `/v1/lanes/${lane}/lease`, { credit: 1, wait_ms: 5_000 });
    const [task] = tasks;
    if (task === undefined) throw new Error(`lane ${lane} has no task`);
    return task;
  }

  /** Publishes a task, takes it and refuses it for good. */
  async deadLetter(kind: string): Promise<string> {
    await this.publish(1, { kind, payload: { prompt: `a payload of ${kind}` } });
    const { id, receipt } = await this.take();
    await this.ask('POST', `/v1/tasks/${id}/nack`, { receipt, mode: 'fatal', reason: `the upstream does not know ${kind}` });
    return id;
  }
}

/** Waits until something holds; what throws does not hold yet. */
export async function until(what: () => Promise<boolean> | boolean, within_ms = 20_000): Promise<void> {
  const end = Date.now() + within_ms;
  let last: unknown;
  while (Date.now() < end) {
    try {
      if (await what()) return;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it did not come to hold within ${within_ms} ms`, { cause: last });
}
