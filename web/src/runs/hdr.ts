// Reads an HdrHistogram as run.json carries it: V2, deflate, base64 (https://hdrhistogram.github.io/HdrHistogram/).

const COMPRESSED = 0x1c849304;
const PLAIN = 0x1c849303;
/** The low nibbles of a cookie say the word size, which V2 does not use. */
const KIND = ~0xf0;

/** Values in recorded units, ascending, with how often each came; each value is the highest of its bucket. */
export interface Histogram {
  readonly count: number;
  readonly values: readonly number[];
  readonly counts: readonly number[];
}

/** Throws when it is not such a histogram. */
export async function decode(base64: string): Promise<Histogram> {
  const packed = Uint8Array.from(atob(base64), (it) => it.charCodeAt(0));
  const head = new DataView(packed.buffer);
  if ((head.getUint32(0) & KIND) !== COMPRESSED) throw new Error('not a compressed HDR histogram (V2)');
  const body = packed.subarray(8, 8 + head.getUint32(4));
  const stream = new Blob([body]).stream().pipeThrough(new DecompressionStream('deflate'));
  return read(new Uint8Array(await new Response(stream).arrayBuffer()));
}

function read(bytes: Uint8Array): Histogram {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if ((view.getUint32(0) & KIND) !== PLAIN) throw new Error('not an HDR histogram (V2)');
  const end = 40 + view.getUint32(4);
  const digits = view.getUint32(12);
  const lowest = Number(view.getBigUint64(16));
  const halfMagnitude = Math.ceil(Math.log2(2 * 10 ** digits)) - 1;
  const half = 2 ** halfMagnitude;
  const unit = Math.floor(Math.log2(Math.max(1, lowest)));
  const values: number[] = [];
  const counts: number[] = [];
  let total = 0;
  let index = 0;
  for (let at = 40; at < end; ) {
    const [number, next] = zigzag(bytes, at);
    at = next;
    if (number < 0) index -= number;
    else {
      if (number > 0) {
        const bucket = Math.floor(index / half) - 1;
        const sub = (index % half) + (bucket < 0 ? 0 : half);
        const width = 2 ** (Math.max(0, bucket) + unit);
        values.push(sub * width + width - 1);
        counts.push(number);
        total += number;
      }
      index += 1;
    }
  }
  return { count: total, values, counts };
}

/** A signed number in ZigZag LEB128, of at most nine bytes; the ninth is whole. */
function zigzag(bytes: Uint8Array, at: number): [number, number] {
  let value = 0n;
  let shift = 0n;
  for (let read = 1; ; read += 1) {
    const byte = BigInt(bytes[at] as number);
    at += 1;
    value |= (read === 9 ? byte : byte & 0x7fn) << shift;
    if (read === 9 || byte < 0x80n) break;
    shift += 7n;
  }
  return [Number((value >> 1n) ^ -(value & 1n)), at];
}

/** The value that a share (0 to 1) of all values is at or below. */
export function quantile({ count, values, counts }: Histogram, share: number): number {
  const wanted = Math.max(1, Math.ceil(share * count));
  let seen = 0;
  for (let index = 0; index < values.length; index += 1) {
    seen += counts[index] as number;
    if (seen >= wanted) return values[index] as number;
  }
  return values.at(-1) ?? 0;
}
