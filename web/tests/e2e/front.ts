// What stands between the browser and the gateway: it hands everything on, and can cut connections or fall silent. A
// gateway that was built without the console gets it from `dist` here, with the headers that a gateway sends.

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Gateway } from './gateway';

const DIST = 'dist';
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; worker-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const KINDS: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

export class Front {
  private readonly server: http.Server;
  private sockets = new Set<Duplex>();
  private refuses = false;
  private silent = false;

  private constructor(
    private readonly gateway: Gateway,
    /** Whether the page comes from the gateway itself. */
    readonly embedded: boolean,
  ) {
    this.server = http.createServer((request, response) => void this.answer(request, response));
    this.server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head));
  }

  static async before(gateway: Gateway): Promise<Front> {
    const page = await (await fetch(gateway.url, { headers: { Accept: 'text/html' } })).text();
    const front = new Front(gateway, page.includes('id="app"') && process.env.CONSOLE !== 'dist');
    await new Promise<void>((listening) => front.server.listen(0, '127.0.0.1', listening));
    return front;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Cuts every WebSocket, and lets no new one through until `mend`. */
  cut(): void {
    this.refuses = true;
    for (const socket of this.sockets) socket.destroy();
  }

  mend(): void {
    this.refuses = false;
  }

  /** Sockets stay open, and nothing comes through them any more: a network that is gone without a word. */
  hush(): void {
    this.silent = true;
  }

  async stop(): Promise<void> {
    this.cut();
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }

  private async answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://front').pathname;
    const ofApi = /^\/(v1|api|ws|hooks)\/|^\/(health|ready|metrics|openapi\.json)$/.test(path);
    if (!this.embedded && !ofApi) return serve(path, response);
    const { port } = this.gateway;
    const onward = http.request({ host: '127.0.0.1', port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  }

  private upgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
    if (this.refuses) return void socket.destroy();
    this.silent = false;
    const { rawHeaders } = request;
    const lines = Array.from({ length: rawHeaders.length / 2 }, (_, index) => `${rawHeaders[index * 2]}: ${rawHeaders[index * 2 + 1]}`);
    const onward = net.connect(this.gateway.port, '127.0.0.1', () => {
      onward.write([`GET ${request.url} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
      onward.write(head);
    });
    let mute = false;
    const pass = (to: Duplex) => (chunk: Buffer) => {
      mute ||= this.silent;
      if (!mute) to.write(chunk);
    };
    socket.on('data', pass(onward));
    onward.on('data', pass(socket));
    const both = [socket, onward];
    for (const it of both) {
      this.sockets.add(it);
      it.on('error', () => undefined);
      it.on('close', () => {
        for (const other of both) {
          other.destroy();
          this.sockets.delete(other);
        }
      });
    }
  }
}

async function serve(path: string, response: http.ServerResponse): Promise<void> {
  const file = extname(path) === '' ? 'index.html' : normalize(path);
  try {
    const content = await readFile(join(DIST, file));
    response.writeHead(200, { 'Content-Type': KINDS[extname(file)] ?? 'application/octet-stream', 'Content-Security-Policy': POLICY });
    response.end(content);
  } catch {
    response.writeHead(404).end();
  }
}
