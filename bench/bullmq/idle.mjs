// A WebSocket server of the npm package `ws` that does nothing: what an idle connection costs there.
import { WebSocketServer } from 'ws';

new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: false });
